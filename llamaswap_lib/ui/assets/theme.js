// Before anything is drawn: the theme that was chosen here, should there be one. Not a module, so that it runs at once.
try {
  const chosen = localStorage.getItem("llamaswap.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // a browser that keeps nothing: the system's theme
}
