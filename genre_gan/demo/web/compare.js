// Two takes side by side: their spectrograms, and a press that changes from one to the other at the same moment of the music.
const { clips, events, paint } = window.genreGan;
const section = element.querySelector('section');
const figures = [...element.querySelectorAll('figure')];
let pair = [];

function update() {
  const shown = window.genreGan.shown?.();
  for (const [i, take] of pair.entries()) {
    const [canvas, button] = ['canvas', 'button'].map((name) => figures[i].querySelector(name));
    figures[i].querySelector('figcaption').textContent = take.title;
    figures[i].style.setProperty('--genre', take.colour);
    button.setAttribute('aria-label', `Hear ${take.title}`);
    button.setAttribute('aria-pressed', shown?.id === take.id);
    if (clips.has(take.id)) paint(canvas, clips.get(take.id), 'spectrogram');
  }
}

for (const [i, figure] of figures.entries())
  figure.querySelector('button').addEventListener('click', () => {
    window.genreGan.change(pair[i]);
    update();
  });
element.querySelector('.close').addEventListener('click', () => {
  section.hidden = true;
  pair = [];
});
events.addEventListener('clip', ({ detail }) => pair.some(({ id }) => id === detail.id) && update());
events.addEventListener('playing', () => setTimeout(update));
new ResizeObserver(update).observe(section);

window.genreGan.compare = (takes) => {
  pair = takes;
  section.hidden = false;
  update();
  const missing = pair.filter(({ id }) => !clips.get(id)?.done);
  if (missing.length) window.genreGan.ask({ what: 'fetch', takes: missing.map(({ id, recipe }) => ({ id, recipe })) }, 'the comparison');
  section.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
};
