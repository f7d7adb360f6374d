// The list of takes. The browser keeps it; the server gets recipes only when a take is played again, compared or downloaded.
// @gr.render would draw it on the server, which would have to be asked again for every star, name and deletion.
const { events, withNew } = window.genreGan;
const others = new BroadcastChannel('genre-gan-takes'); // the page in other tabs, which keep the same list
const find = (selector) => element.querySelector(selector);
let ticked = []; // ids, at most two
let removed = null; // the last deleted take and its place
let edited = null; // the id of the take whose name is typed: when one comes in front, gradio gives the field to that

function set(takes) {
  props.value = takes;
  trigger('edited');
  queueMicrotask(mark); // gradio draws just before
}

function change(takes) {
  const before = props.value.map(({ id }) => id);
  set(takes);
  others.postMessage(JSON.stringify({ before, takes }));
}
// The last one wins, but for takes that it has not heard of: those came here at the same moment.
others.onmessage = ({ data }) => {
  const { before, takes } = JSON.parse(data);
  const known = [...before, ...takes.map(({ id }) => id)];
  set([...props.value.filter(({ id }) => !known.includes(id)), ...takes]);
};
window.genreGan.addTakes = () => change(withNew(props.value));

// Set what the template must not hold. Gradio would run a name with ${} in it, and fail at a backslash.
function name(item, { title, facts }) {
  const field = item.querySelector('.name');
  if (field !== document.activeElement) field.value = title;
  item.querySelector('small').textContent = facts;
  for (const [what, word] of Object.entries({ play: 'Play', star: 'Star', tick: 'Compare', delete: 'Delete' }))
    item.querySelector(`[data-do=${what}]`).ariaLabel = `${word} ${title}`;
}

function mark() {
  const takes = props.value ?? [];
  ticked = ticked.filter((wanted) => takes.some(({ id }) => id === wanted));
  for (const item of element.querySelectorAll('li')) {
    const take = takes.find(({ id }) => id === item.dataset.id);
    if (take) name(item, take);
    item.querySelector('[data-do=tick]').checked = ticked.includes(item.dataset.id);
    item.classList.toggle('is-shown', item.dataset.query === window.genreGan.shown?.()?.query);
  }
  if (find('.compare-two')) find('.compare-two').disabled = ticked.length !== 2;
  find('.removed').hidden = !removed;
  find('.removed span').textContent = removed ? `Deleted ${removed.take.title}.` : '';
}
watch('value', mark);
events.addEventListener('clip', mark);
events.addEventListener('playing', () => setTimeout(mark));

const deeds = {
  play: (take) => window.genreGan.play(take),
  star: (take) => change(props.value.map((other) => (other.id === take.id ? { ...take, starred: !take.starred } : other))),
  delete: (take) => {
    removed = { take, at: props.value.indexOf(take) };
    change(props.value.filter((other) => other !== take));
  },
  tick: ({ id }) => {
    ticked = ticked.includes(id) ? ticked.filter((other) => other !== id) : [...ticked.slice(-1), id];
    mark();
  },
};

element.addEventListener('click', ({ target }) => {
  const button = target.closest('button, input[type=checkbox]');
  if (!button) return;
  const take = props.value?.find(({ id }) => id === button.closest('li')?.dataset.id);
  if (take && button.dataset.do) deeds[button.dataset.do](take);
  if (button.matches('.undo')) {
    const { take: back, at } = removed;
    removed = null;
    change([...props.value.slice(0, at), back, ...props.value.slice(at)]);
  }
  if (button.matches('.compare-two')) window.genreGan.compare(ticked.map((wanted) => props.value.find(({ id }) => id === wanted)));
  if (button.matches('.download-all')) trigger('download_all', { takes: props.value.map(({ title, recipe }) => ({ title, recipe })) });
});
element.addEventListener('change', ({ target }) => {
  if (!target.matches('.name')) return;
  change(props.value.map((take) => (take.id === edited ? { ...take, title: target.value.trim() || take.title } : take)));
});
element.addEventListener('focusin', ({ target }) => {
  if (target.matches('.name')) edited = target.closest('li').dataset.id;
});
element.addEventListener('focusout', mark);
element.addEventListener('keydown', ({ key, target }) => key === 'Enter' && target.matches('.name') && target.blur());
mark();
