// The player of the main clip. It plays pieces as they come, with a spectrogram that grows, and hands over to the browser's own
// audio element, at the same moment of the music, once all are there. gr.Audio can do none of this before a clip is whole.
const { clips, clock, events, isDrawn, paint, receive, wavUrl } = window.genreGan;
const find = (selector) => element.querySelector(selector);
const [audio, canvas, seek, playhead] = ['audio', 'canvas', '.seek', '.playhead'].map(find);
let shown = null; // the clip
let view = 'spectrogram';
let isLooped = false, wantsLoop = false; // what was made to loop does; the rest as the visitor wants
let context = null;
let stream = null; // while a clip comes: its output, how many pieces are scheduled, and when it begins and ends on the context's clock
let job = null; // what was asked last: its number, when, what for, and how far it is
const kept = new Set();

const isPlaying = () => (stream ? context.state === 'running' : !audio.paused);
const positionS = () => (stream ? Math.max(0, context.currentTime - stream.begin) : shown ? audio.currentTime % shown.durationS : 0);

// The same words again would have the browser lay out the page again, and screen readers read them again.
function put(selector, text) {
  if (find(selector).textContent !== text) find(selector).textContent = text;
}
const say = (text) => put('.status', text);

// Sound may only start where the visitor has touched the page, and a context that was made then may go on to sound later.
function wake() {
  if (!navigator.userActivation || navigator.userActivation.hasBeenActive) context?.resume();
}
document.addEventListener('pointerdown', wake);

function hush() {
  stream?.output.disconnect();
  stream = null;
}

function openStream() {
  if (context?.sampleRate !== shown.rate) context = new AudioContext({ sampleRate: shown.rate });
  wake();
  const output = context.createGain();
  output.gain.value = audio.volume;
  output.connect(context.destination);
  stream = { output, nHeard: 0, begin: context.currentTime + 0.03, end: context.currentTime + 0.03 };
}

function schedule() {
  for (; stream.nHeard < shown.pcm.length; stream.nHeard++) {
    const pcm = shown.pcm[stream.nHeard], source = context.createBufferSource();
    const late = Math.max(0, context.currentTime - stream.end);
    source.buffer = context.createBuffer(1, pcm.length, shown.rate);
    source.buffer.getChannelData(0).set(Float32Array.from(pcm, (value) => value / 32768));
    source.connect(stream.output);
    source.start(stream.end + late);
    stream.begin += late;
    stream.end += late + source.buffer.duration;
  }
}

// Give the whole clip to the audio element, which goes on where the pieces are.
function load() {
  const at = positionS(), wasPlaying = stream && isPlaying();
  if (audio.src) URL.revokeObjectURL(audio.src);
  audio.src = wavUrl(shown, isLooped);
  audio.loop = isLooped;
  audio.currentTime = Math.min(at, shown.durationS);
  seek.disabled = find('.play').disabled = false;
  if (wasPlaying) audio.play().then(hush, hush);
  else hush();
}

function setLoop(wanted) {
  const wasPlaying = isPlaying();
  isLooped = wantsLoop = wanted;
  find('.loop').setAttribute('aria-pressed', isLooped);
  if (!shown?.done || stream) return;
  load();
  if (wasPlaying) audio.play();
}

// Show a clip, and play it if that is wanted and allowed.
function open(clip, wantsSound) {
  hush();
  audio.pause();
  audio.removeAttribute('src');
  shown = clip;
  put('.title', clip.title);
  find('.pitches').innerHTML = '';
  for (const [name, top] of Object.entries(clip.pitches)) {
    const label = document.createElement('span');
    label.textContent = name;
    label.style.top = `clamp(.5rem, ${100 * top}%, 100% - .5rem)`;
    find('.pitches').append(label);
  }
  element.style.setProperty('--genre', clip.colour);
  isLooped = wantsLoop || clip.is_loop;
  find('.loop').setAttribute('aria-pressed', isLooped);
  seek.disabled = true;
  find('.play').disabled = true;
  const isAllowed = !navigator.userActivation || navigator.userActivation.hasBeenActive;
  if (clip.done) {
    load();
    if (wantsSound && isAllowed) audio.play();
  } else if (wantsSound && isAllowed) {
    openStream();
  }
  update();
}

function update() {
  if (!shown) return;
  canvas.setAttribute('aria-label', `${view === 'spectrogram' ? 'Spectrogram' : 'Waveform'} of ${shown.title}`);
  paint(canvas, shown, view);
  element.classList.toggle('has-waveform', view === 'waveform');
  find('.actions').hidden = !(shown.done && shown.recipe);
}

function tick() {
  requestAnimationFrame(tick);
  if (job?.isRunning) put('.clock', `${((performance.now() - job.startedAt) / 1000).toFixed(1)} s`);
  if (!shown) return;
  const at = Math.min(positionS(), shown.durationS);
  playhead.style.left = `${(100 * at) / shown.durationS}%`;
  playhead.style.opacity = shown.nMade ? 1 : 0;
  if (document.activeElement !== seek || !seek.matches(':active')) seek.value = at / shown.durationS;
  if (seek.getAttribute('aria-valuetext') !== clock(at)) seek.setAttribute('aria-valuetext', clock(at));
  put('.time', `${clock(at)} / ${clock(shown.durationS)}`);
  element.classList.toggle('is-playing', isPlaying());
  if (find('.play').ariaLabel !== (isPlaying() ? 'Pause' : 'Play')) find('.play').ariaLabel = isPlaying() ? 'Pause' : 'Play';
}
requestAnimationFrame(tick);

function start(title) {
  job = { number: (job?.number ?? 0) + 1, startedAt: performance.now(), title, isRunning: true };
  element.classList.add('is-making');
  say(`Asking for ${title}`);
  return job.number;
}

function end(text) {
  if (job) job.isRunning = false;
  element.classList.remove('is-making');
  put('.clock', '');
  say(text);
}

// What was made of a clip before it was stopped can be heard.
function keepPart() {
  if (!shown || shown.done || !shown.nMade || audio.src) return;
  hush();
  load();
}

function report(music) {
  const making = music.clips.at(-1);
  if (!making || job.hasEnded) return;
  const count = music.n_wanted > 1 ? ` (${music.clips.length} of ${music.n_wanted})` : '';
  say(`Making ${making.title}${count}: ${Math.round(making.n_made / making.rate)} of ${Math.round(making.n_samples / making.rate)} s`);
}

// Have a finished clip put into the list of takes, once.
function keepTake(clip) {
  if (!clip.take || kept.has(clip.id) || !isDrawn(clip.id)) return;
  kept.add(clip.id);
  window.genreGan.addTakes();
}

// what was asked before may still send its end
const isWanted = ({ job: number }) => number === job?.number && !job.isStopped;

watch('ending', () => {
  if (!props.ending || !isWanted(props.ending)) return;
  job.hasEnded = true;
  end(props.ending.note);
  keepPart();
});
watch('value', () => {
  const music = props.value?.[0];
  if (!music) return;
  if (music.job === job?.number && job.isStopped) return;
  const isCurrent = isWanted(music);
  if (isCurrent) job.hasBegun = true;
  for (const given of music.clips) {
    const clip = receive({ ...given, job: music.job });
    if (isCurrent && !job.isOpen && given.id === music.play) {
      job.isOpen = true;
      open(clip, true);
    }
    if (clip === shown && stream) schedule();
    if (clip === shown && clip.done && !audio.src) load();
    keepTake(clip);
  }
  if (isCurrent) report(music);
  update();
});

find('.play').addEventListener('click', () => {
  if (stream) return isPlaying() ? context.suspend() : context.resume();
  return audio.paused ? audio.play() : audio.pause();
});
seek.addEventListener('input', () => {
  audio.currentTime = seek.value * shown.durationS;
});
find('.volume').addEventListener('input', ({ target }) => {
  audio.volume = target.value;
  if (stream) stream.output.gain.value = target.value;
});
find('.loop').addEventListener('click', () => setLoop(!isLooped));
find('.view').addEventListener('click', ({ currentTarget }) => {
  view = view === 'spectrogram' ? 'waveform' : 'spectrogram';
  currentTarget.setAttribute('aria-pressed', view === 'waveform');
  update();
});
new ResizeObserver(update).observe(canvas);
events.addEventListener('clip', ({ detail }) => {
  keepTake(detail);
  if (detail === shown) update();
});
// gradio says so, but ends nothing that was asked for
events.addEventListener('lost', () => job?.isRunning && end('The server cannot be reached.'));
// another sound of the page begins
events.addEventListener('playing', ({ detail }) => detail !== audio && hush());

audio.addEventListener('play', () => {
  if (!('mediaSession' in navigator)) return;
  navigator.mediaSession.metadata = new MediaMetadata({ title: shown.title, artist: 'genre-gan' });
  navigator.mediaSession.setActionHandler('seekto', ({ seekTime }) => (audio.currentTime = seekTime));
  navigator.mediaSession.setActionHandler('stop', () => audio.pause());
});

// Ask the server for something that follows from the clip; what it sends comes through `value`.
function ask(detail, title) {
  trigger('ask', { ...detail, number: start(title) });
}
function pause() {
  hush();
  audio.pause();
}
// The server ends what it has begun, and says how far it came. What waits in its queue it will not begin.
function stop() {
  pause();
  if (!job) return;
  trigger('halt', { number: job.number });
  if (!job.isRunning || job.hasBegun) return;
  job.isStopped = true;
  end('Stopped.');
  keepPart();
}

for (const genre of props.genres) {
  // not in the template, where gradio would run a name with ${} in it
  const button = Object.assign(document.createElement('button'), { type: 'button', textContent: genre });
  Object.assign(button.dataset, { ask: 'other', genre });
  find('.genres').append(button);
}
find('.actions').addEventListener('click', ({ target }) => {
  const { ask: what, amount, genre, download } = target.dataset;
  target.closest('details')?.removeAttribute('open');
  if (what) ask({ what, recipe: shown.recipe, amount: Number(amount), genre }, genre ?? shown.title);
  if (download) trigger('download', { recipe: shown.recipe, format: download });
});
find('.share').addEventListener('click', async ({ currentTarget }) => {
  // The address is the whole recipe, so that it outlives the server; what gr.DeepLinkButton makes points to a file of the server's.
  const address = `${location.origin}${location.pathname}?${shown.query}`;
  try {
    await navigator.clipboard.writeText(address);
  } catch {
    return prompt('Copy this link:', address); // the clipboard is closed to pages that come over plain HTTP
  }
  currentTarget.textContent = 'Link copied';
  setTimeout(() => (currentTarget.textContent = 'Copy link'), 2000);
});
find('.send').addEventListener('click', () => {
  pause();
  trigger('classify', { recipe: shown.recipe });
});

Object.assign(window.genreGan, {
  ask,
  end,
  start,
  stop,
  // play a take at once where it is in memory, else have it made again
  play: (take) => (clips.get(take.id)?.done ? open(clips.get(take.id), true) : ask({ what: 'again', ...take }, take.title)),
  // change to another clip in memory at the same moment of the music
  change: (take) => {
    const at = positionS(), clip = clips.get(take.id);
    if (!clip?.done) return;
    open(clip, true);
    audio.currentTime = Math.min(at, Math.max(0, clip.durationS - 0.1));
  },
  shown: () => shown,
});

// A link leads to a clip.
const query = Object.fromEntries(new URLSearchParams(location.search));
if (query.genre) setTimeout(() => ask({ what: 'link', query }, 'the clip of this link'));
