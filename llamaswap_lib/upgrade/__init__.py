"""An upgrade without a hiccup: a new process of the installed version takes over from the old one."""
