"""What runs and who may enter: the controller's thread, the places inside runs, and what is published of both."""
