// Before anything is drawn: the theme that was chosen, so that the page does not flash in another one.
try {
  const {theme} = JSON.parse(localStorage.getItem('hearth.settings')) ?? {};
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Nothing was chosen, or the browser keeps nothing.
}
