// Saves the file that the server made, under its name.
watch('value', () => {
  if (!props.value) return;
  const link = document.createElement('a');
  [link.href, link.download] = [props.value.url, props.value.orig_name];
  link.click();
});
