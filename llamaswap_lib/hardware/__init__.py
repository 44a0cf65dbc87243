"""What this machine has and how busy it is: processor, memory, network, disks, GPUs; and what each model takes."""
