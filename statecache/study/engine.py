"""The documented event processor, small: load the state, evaluate the event, update the state.

Per route it keeps an exponential moving average of the departure delay and a count; a trigger
fires when the average crosses its threshold from below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from statecache import AsyncStateManager

__all__ = ["INITIAL_STATE", "RouteState", "Rule", "TriggerEngine", "evaluate"]


class RouteState(TypedDict):
    """The state of a route: average delay in minutes, events counted, triggers fired."""

    ema: float
    count: int
    fired: int


#: The state of a route that no event has reached yet.
INITIAL_STATE = RouteState(ema=0.0, count=0, fired=0)


@dataclass(frozen=True, slots=True)
class Rule:
    """When a trigger fires: ``threshold_min`` minutes of average delay.

    ``weight`` is the share of the newest event in the average, 0 to 1.
    """

    weight: float = 0.2
    threshold_min: float = 20.0


def evaluate(state: RouteState, delay_min: float, rule: Rule) -> tuple[RouteState, bool]:
    """Return the state after an event, and whether the trigger fires."""
    average = state["ema"] + rule.weight * (delay_min - state["ema"])
    fires = state["ema"] < rule.threshold_min <= average
    after = RouteState(
        ema=average, count=state["count"] + 1, fired=state["fired"] + (1 if fires else 0)
    )
    return after, fires


class TriggerEngine:
    """Handles events on a manager's public API.

    Events of one key must be handled one after the other, as an event processor that is
    partitioned by key does; events of different keys may overlap.
    """

    def __init__(self, manager: AsyncStateManager, rule: Rule | None = None) -> None:
        self._manager = manager
        self._rule = rule or Rule()

    async def handle(self, key: str, delay_min: float) -> bool:
        """Handle one event; return whether its trigger fired."""
        held: RouteState | None = await self._manager.load_state(key)
        state, fires = evaluate(held or INITIAL_STATE, delay_min, self._rule)
        await self._manager.update_state(key, state)
        return fires

    async def look(self, key: str) -> RouteState | None:
        """Return the state of a route without an event, as a reader beside the engine does."""
        state: RouteState | None = await self._manager.load_state(key)
        return state
