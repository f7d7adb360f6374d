// What the player, the list of takes and the comparison share: clips in memory, their pictures, and WAV files of them.
window.genreGan = (() => {
  const MAX_CLIPS = 12; // in memory; older ones are made again from their recipes
  const MAX_TAKES = 24; // in the list, which grows only where all of them are starred: these are never dropped
  const LOOP_S = 900; // a looped clip is one long sound without gaps
  const events = new EventTarget();
  const clips = new Map(); // by id, the latest last
  const seen = new Set(); // ids of takes that were put into the list

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')}`;

  function begin(given) {
    const image = document.createElement('canvas');
    [image.width, image.height] = [given.n_columns, 96];
    return { ...given, pcm: [], nMade: 0, nDrawn: 0, image, peaks: new Float32Array(given.n_columns), durationS: given.n_samples / given.rate };
  }

  function addPiece(clip, piece) {
    const pcm = new Int16Array(bytes(piece.pcm).buffer);
    const perColumn = clip.n_samples / clip.n_columns;
    for (let i = 0; i < pcm.length; i++) {
      const column = Math.min(clip.n_columns - 1, Math.floor((clip.nMade + i) / perColumn));
      clip.peaks[column] = Math.max(clip.peaks[column], Math.abs(pcm[i]) / 32768);
    }
    clip.pcm.push(pcm);
    clip.nMade += pcm.length;
    createImageBitmap(new Blob([bytes(piece.picture)], { type: 'image/webp' })).then((bitmap) => {
      clip.image.getContext('2d').drawImage(bitmap, piece.start, 0, piece.stop - piece.start, 96);
      clip.nDrawn++;
      announce(clip);
    });
  }

  const announce = (clip) => events.dispatchEvent(new CustomEvent('clip', { detail: clip }));

  // Take over what is new of a clip that the server sends, and return the clip. Pieces that it has already are skipped.
  function receive(given) {
    let clip = clips.get(given.id);
    if (!clip || (!clip.done && clip.job !== given.job)) clip = begin({ ...given, pieces: undefined });
    clips.delete(given.id);
    clips.set(given.id, clip);
    while (clips.size > MAX_CLIPS) clips.delete(clips.keys().next().value);
    for (const piece of clip.done ? [] : given.pieces.slice(clip.pcm.length)) addPiece(clip, piece);
    if (!clip.done && given.done) {
      clip.done = true;
      announce(clip);
    }
    clip.take = given.take ?? clip.take;
    return clip;
  }

  function wavHeader(nSamples, rate) {
    const view = new DataView(new ArrayBuffer(44));
    const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
    const number = (at, value, size) => (size === 2 ? view.setUint16(at, value, true) : view.setUint32(at, value, true));
    text(0, 'RIFF'), number(4, 36 + 2 * nSamples), text(8, 'WAVEfmt '), number(16, 16), number(20, 1, 2), number(22, 1, 2);
    number(24, rate), number(28, 2 * rate), number(32, 2, 2), number(34, 16, 2), text(36, 'data'), number(40, 2 * nSamples);
    return view;
  }

  // The address of a clip as a WAV file in memory; for a loop it is repeated, since browsers pause before they begin again.
  function wavUrl(clip, isLooped) {
    const times = isLooped ? Math.ceil(LOOP_S / clip.durationS) : 1;
    const parts = Array.from({ length: times }, () => clip.pcm).flat();
    return URL.createObjectURL(new Blob([wavHeader(times * clip.nMade, clip.rate), ...parts], { type: 'audio/wav' }));
  }

  // Draw a clip over a whole canvas: its spectrogram, or its waveform in the genre's colour.
  function paint(canvas, clip, view) {
    const scale = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [canvas.clientWidth * scale, canvas.clientHeight * scale];
    const pen = canvas.getContext('2d');
    if (view === 'spectrogram') {
      pen.imageSmoothingQuality = 'high';
      pen.drawImage(clip.image, 0, 0, canvas.width, canvas.height);
      return;
    }
    const step = 4 * scale, middle = canvas.height / 2;
    pen.fillStyle = getComputedStyle(canvas).color;
    for (let x = 0; x < canvas.width; x += step) {
      const [from, to] = [x, x + step].map((at) => Math.floor((at / canvas.width) * clip.n_columns));
      const peak = Math.max(0, ...clip.peaks.subarray(from, Math.max(from + 1, to)));
      const height = Math.max(scale, peak * (canvas.height - 8 * scale));
      pen.fillRect(x + scale, middle - height / 2, step - 2 * scale, height);
    }
  }

  const isDrawn = (id) => clips.get(id)?.done && clips.get(id).nDrawn === clips.get(id).pcm.length;

  // A small picture of a clip, which is kept with its take.
  function thumbnail(clip) {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [128, 40];
    canvas.getContext('2d').drawImage(clip.image, 0, 0, 128, 40);
    return canvas.toDataURL('image/webp', 0.6);
  }

  // The list of takes with those in front that are drawn and were not put there before.
  function withNew(takes) {
    const fresh = [...clips.values()].filter(({ take }) => take && isDrawn(take.id) && !seen.has(take.id) && !takes.some(({ query }) => query === take.query));
    const added = fresh.map(({ take }) => ({ ...take, picture: thumbnail(clips.get(take.id)) }));
    added.forEach(({ id }) => seen.add(id));
    const kept = [...added.reverse(), ...takes];
    const isNew = ({ id }) => fresh.length && clips.get(id)?.job === fresh[0].job;
    for (let i = kept.length - 1; i >= 0 && kept.length > MAX_TAKES; i--) if (!kept[i].starred && !isNew(kept[i])) kept.splice(i, 1);
    return kept;
  }

  // One sound at a time. Gradio's own players play through elements that stand in no document, so that no event of theirs arrives
  // here; browsers' own controls call no method.
  let playing = null;
  function playAlone(audio) {
    if (playing !== audio) playing?.pause();
    playing = audio;
    events.dispatchEvent(new CustomEvent('playing', { detail: audio }));
  }
  const { play } = HTMLMediaElement.prototype;
  HTMLMediaElement.prototype.play = function () {
    playAlone(this);
    const started = play.call(this);
    started.catch(() => {}); // a pause, or another clip, came before it began: no fault
    return started;
  };
  document.addEventListener('play', ({ target }) => target !== playing && playAlone(target), true);

  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !event.repeat) document.querySelector('#generate-button')?.click();
  });
  // menus close when something else is pressed
  const closeMenus = (event) => {
    for (const menu of document.querySelectorAll('details.menu[open]')) if (event.key === 'Escape' || !menu.contains(event.target)) menu.open = false;
  };
  document.addEventListener('pointerdown', closeMenus);
  document.addEventListener('keydown', (event) => event.key === 'Escape' && closeMenus(event));

  // gradio refuses what the browser does not call audio, such as opus in webm, films, and sound without a suffix. Only the server
  // can tell, which looks into the file.
  const asAudio = (files) => {
    const renamed = new DataTransfer();
    for (const file of files) renamed.items.add(new File([file], file.name, { type: 'audio/mpeg' }));
    return renamed;
  };
  const takesSound = (target) => target.closest?.('#upload, #many-files');
  document.addEventListener('change', ({ target }) => {
    if (target.type === 'file' && takesSound(target)) target.files = asAudio(target.files).files;
  }, true);
  document.addEventListener('drop', (event) => {
    if (takesSound(event.target)) Object.defineProperty(event, 'dataTransfer', { value: asAudio(event.dataTransfer.files) });
  }, true);

  // gradio's messages are a button with another one in it, which screen readers take for one: only the title shall be the outer
  new MutationObserver(() => {
    for (const head of document.querySelectorAll('.toast-header[role=button]')) {
      head.removeAttribute('role');
      head.removeAttribute('tabindex');
      Object.assign(head.querySelector('.toast-title-row'), { role: 'button', tabIndex: 0 }); // what is pressed on it bubbles up
    }
    const messages = [...document.querySelectorAll('[data-testid=toast-text]')].map(({ textContent }) => textContent);
    if (messages.some((text) => text.startsWith('Connection to the server was lost'))) events.dispatchEvent(new Event('lost'));
  }).observe(document.documentElement, { childList: true, subtree: true });

  // gradio's recorder says nothing where there is no microphone
  document.addEventListener('click', async ({ target }) => {
    if (!target.closest('#upload [aria-label="Record audio"]')) return;
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    const note = document.querySelector('#no-microphone .prose');
    const isThere = devices.some(({ kind }) => kind === 'audioinput');
    note.textContent = isThere ? '' : 'There is no microphone here, or this page may not use it: upload a file instead.';
  });

  return { clips, clock, events, isDrawn, paint, receive, wavUrl, withNew };
})();
