// Plays pieces as they come, and hands over to the browser's own player, at the same moment of the music, once all are there.
const audio = element.querySelector('audio');
let clip, context, output, heard, begin, end;
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const hush = () => { output?.disconnect(); output = null; };
const open = (id, rate) => {
  hush();
  audio.pause();
  if (context?.sampleRate !== rate) context = new AudioContext({ sampleRate: rate });
  output = context.createGain();
  output.connect(context.destination);
  [clip, heard, begin] = [id, 0, context.currentTime + 0.03];
  end = begin;
};
const schedule = (pcm) => {
  const source = context.createBufferSource(), late = Math.max(0, context.currentTime - end);
  source.buffer = context.createBuffer(1, pcm.length, context.sampleRate);
  source.buffer.getChannelData(0).set(Float32Array.from(pcm, (value) => value / 32768));
  source.connect(output);
  source.start(end + late);
  begin += late;
  end += late + source.buffer.duration;
};
watch('value', () => {
  if (!props.value) return;
  document.querySelector('#status').role = 'status';
  const { id, rate, pieces, header } = props.value;
  if (id !== clip) open(id, rate);
  for (; output && heard < pieces.length; heard++) schedule(new Int16Array(bytes(pieces[heard]).buffer));
  if (!header || audio.dataset.clip === id) return;
  audio.dataset.clip = id;
  URL.revokeObjectURL(audio.src);
  audio.src = URL.createObjectURL(new Blob([header, ...pieces].map(bytes), { type: 'audio/wav' }));
  if (!output) return;
  audio.currentTime = Math.max(0, context.currentTime - begin);
  audio.play().then(hush, hush);
});
audio.addEventListener('timeupdate', () => {
  for (const line of document.querySelectorAll('#spectrogram .playhead'))
    Object.assign(line.style, { left: `${100 * audio.currentTime / audio.duration}%`, opacity: 1 });
});
window.addEventListener('genre-gan-stop', () => { hush(); audio.pause(); });
