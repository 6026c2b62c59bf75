"""Byte formats that nodes and clients promise each other, beside the protobuf messages of ``quorumlog.v1``."""
