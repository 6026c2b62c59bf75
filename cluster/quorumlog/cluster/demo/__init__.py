"""``make demo``: real text through a cluster whose leader is killed half way, and every line compared."""
