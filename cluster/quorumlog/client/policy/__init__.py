"""The client's decisions, without I/O: routing, retry, batching. No asyncio, no gRPC, no clock, no global
randomness."""
