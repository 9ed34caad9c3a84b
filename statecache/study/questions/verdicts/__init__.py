"""All documented figures and the verdict on each, from what the other notebooks of a run found."""
