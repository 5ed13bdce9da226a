// A clip of a sighting: its box on every frame where those are kept, else the way that the thing went.

import { colour, element, fine, fit } from './draw.js';
import { stroke } from './record.js';

/** Where the thing was at a time of the clip, in shares of the picture; none where that is not known. */
function boxAt(track, time, video) {
  const cue = [...(track?.cues ?? [])].find(({ startTime, endTime }) => startTime <= time && time < endTime);
  if (!cue) return null;
  const { x, y, w, h } = JSON.parse(cue.text).box;
  return { x: x / video.videoWidth, y: y / video.videoHeight, w: w / video.videoWidth, h: h / video.videoHeight };
}

/** Where its foot was until a stream time, in shares of the picture. */
const wayTo = (path, pts_ns) => path.filter((point) => point.pts_ns !== null && point.pts_ns <= pts_ns);

/** `file` is the clip, `cues` the boxes that belong to it, where there are some. */
export function clip(sighting, file, cues) {
  // As it is kept, where browsers may play that; else as the server encodes it for them.
  const kept = file.type === 'video/mp4' ? file.href : null;
  const source = kept ?? file.play;
  if (!source) {
    return element('p', {}, [element('a', { href: file.href, download: '' }, ['The clip, for a player'])]);
  }
  const video = element('video', { src: source, controls: true, playsInline: true, 'aria-label': `clip of ${sighting.query}` });
  if (kept && file.play) {
    const encoded = () => {
      if (!video.src.endsWith(file.play)) video.src = file.play;
    };
    video.addEventListener('error', encoded);
    // A browser that lacks the codec may play the sound alone.
    video.addEventListener('loadedmetadata', () => video.videoWidth || encoded());
  }
  const over = element('canvas', { 'aria-hidden': 'true' });
  let track = null;
  if (cues) {
    const made = element('track', { kind: 'metadata', src: cues.href });
    video.append(made);
    track = made.track;
    track.mode = 'hidden';
  }
  const draw = (time) => {
    const place = fine(over);
    if (!video.videoWidth) return;
    const area = fit(place, video.videoWidth, video.videoHeight);
    const at = ({ x, y }) => [area.x + x * area.width, area.y + y * area.height];
    const way = wayTo(sighting.path, (file.start_pts_ns ?? 0) + time * 1e9);
    const { context } = place;
    context.beginPath();
    way.forEach((point, index) => (index ? context.lineTo(...at(point)) : context.moveTo(...at(point))));
    stroke(context, 2, colour(0));
    const box = boxAt(track, time, video);
    if (box) {
      context.beginPath();
      context.rect(...at(box), box.w * area.width, box.h * area.height);
      stroke(context, 2.5, colour(0));
    }
  };
  const shown = (now, { mediaTime }) => {
    draw(mediaTime);
    video.requestVideoFrameCallback(shown);
  };
  if ('requestVideoFrameCallback' in video) video.requestVideoFrameCallback(shown);
  else video.addEventListener('timeupdate', () => draw(video.currentTime));
  return element('div', { className: 'clip' }, [video, over]);
}
