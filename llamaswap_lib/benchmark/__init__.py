"""What `llamaswap bench` measures, and how it is read. It asks as any client does; each request has a thread."""
