"""``make demo-offsets``: a consumer group works through real text while nodes and consumers are killed in turn, and
every record is accounted for."""
