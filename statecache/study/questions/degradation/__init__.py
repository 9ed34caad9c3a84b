"""What callers feel while the cache is killed, hung, slow, emptied or restarted, and afterwards."""
