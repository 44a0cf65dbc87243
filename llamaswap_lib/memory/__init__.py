"""What models need of each device and what there is: the picture by which they stay or go. See docs/memory.md."""
