// A click on the picture of a sound goes to that moment and plays on from there.
element.addEventListener('click', ({ target, clientX }) => {
  const picture = target.closest('.sound img');
  if (!picture) return;
  const { left, width } = picture.getBoundingClientRect();
  trigger('hear', { at_s: ((clientX - left) / width) * Number(picture.closest('.sound').dataset.durationS) });
});
