// The camera's own pictures: fragmented MP4 into a video element, played as late as findings are known, so that boxes lie on the very
// frames that they were measured on.

/** Playback is never later than this, seconds; beyond it boxes are those of before. */
const LATEST = 3;
/** What is added to the delay of findings: the unevenness of networks, seconds. */
const CUSHION = 0.1;
/** Further off than this it jumps, seconds. */
const JUMP = 1;
/** What was played is kept so long, seconds. */
const KEPT = 8;
/** How often playback is brought nearer to where it should be, ms. */
const TICK = 250;
/** For how long the longest delay of findings counts, ms. */
const REMEMBERED = 3000;

const type = (codec) => `video/mp4; codecs="${codec}"`;

/** Whether this browser plays a codec and tells which frame it shows. */
export function plays(codec = 'avc1.64001F') {
  const tells = 'requestVideoFrameCallback' in HTMLVideoElement.prototype;
  return tells && 'MediaSource' in window && MediaSource.isTypeSupported(type(codec));
}

/**
 * The frame that the video shows now, with its time: another one may have come since the browser told of one. None where a browser has no
 * such thing, or keeps it for safe addresses.
 */
function current(video) {
  try {
    return new VideoFrame(video);
  } catch {
    return null;
  }
}

export class Film {
  /** `onframe(pts_ns, picture)` is called for every frame that is shown, `onfail(reason)` where it cannot be played. */
  constructor(video, onframe, onfail) {
    this.video = video;
    this.onfail = onfail;
    this.queue = [];
    this.delays = [];
    this.source = new MediaSource();
    this.url = URL.createObjectURL(this.source);
    this.source.addEventListener('sourceopen', () => this.pump());
    video.src = this.url;
    video.onerror = () => this.fail(video.error?.message || 'the video cannot be played');
    const shown = (now, { mediaTime }) => {
      if (this.closed) return;
      const frame = current(video);
      const time = frame ? frame.timestamp / 1e6 : mediaTime;
      onframe(this.zero + time * 1e9, frame ?? video);
      frame?.close();
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
    this.timer = setInterval(() => this.steer(), TICK);
  }

  /** A film begins: what follows belongs to it. */
  head({ codec, origin_ns, width, height }) {
    if (!plays(codec)) {
      this.fail(`this browser does not play ${codec}`);
      return;
    }
    // Times count from the first one.
    this.zero ??= origin_ns;
    this.size = { width, height };
    this.queue.push({ codec, offset: (origin_ns - this.zero) / 1e9 });
    this.pump();
  }

  part(bytes) {
    this.queue.push(bytes);
    this.pump();
  }

  fail(reason) {
    if (!this.closed) this.onfail(reason);
  }

  pump() {
    while (this.queue.length && this.source.readyState === 'open' && !this.buffer?.updating) {
      const next = this.queue.shift();
      try {
        if (next.codec) {
          if (this.buffer) this.buffer.changeType(type(next.codec));
          else this.begin(next.codec);
          this.buffer.timestampOffset = next.offset;
        } else {
          this.buffer.appendBuffer(next);
        }
      } catch (error) {
        this.fail(error.message);
        return;
      }
    }
  }

  begin(codec) {
    this.buffer = this.source.addSourceBuffer(type(codec));
    this.buffer.addEventListener('updateend', () => this.pump());
    this.buffer.addEventListener('error', () => this.fail('the video cannot be read'));
  }

  /** Up to where there are pictures, in the film's own time; none before the first. */
  end() {
    const ranges = this.buffer?.buffered;
    return ranges?.length ? ranges.end(ranges.length - 1) : null;
  }

  /** Findings of a frame are known. Until now the newest known were those before. */
  known(pts_ns) {
    const end = this.end();
    if (this.zero === undefined || pts_ns === null) return;
    const time = (pts_ns - this.zero) / 1e9;
    if (end !== null && this.newest !== undefined) {
      const now = performance.now();
      this.delays.push({ now, delay: end - this.newest });
      this.delays = this.delays.filter((one) => one.now > now - REMEMBERED);
    }
    this.newest = time;
  }

  /** How far behind the newest picture playback should be, seconds. */
  delay() {
    const longest = Math.max(0, ...this.delays.map((one) => one.delay));
    return Math.min(LATEST, longest + CUSHION);
  }

  steer() {
    const end = this.end();
    if (end === null) return;
    const { video, buffer } = this;
    const ranges = buffer.buffered;
    const first = ranges.start(ranges.length - 1);
    const target = Math.max(first, end - this.delay());
    const behind = target - video.currentTime;
    if (Math.abs(behind) > JUMP || video.currentTime < first) {
      video.currentTime = target;
      video.playbackRate = 1;
    } else {
      // A little faster or slower is not seen.
      video.playbackRate = Math.abs(behind) < 0.04 ? 1 : 1 + Math.max(-0.15, Math.min(0.15, behind / 2));
    }
    // A browser may have stopped it while the page was hidden.
    if (video.paused) video.play().catch(() => {});
    const old = video.currentTime - KEPT;
    if (!buffer.updating && ranges.start(0) < old - KEPT) buffer.remove(0, old);
  }

  close() {
    this.closed = true;
    clearInterval(this.timer);
    this.video.onerror = null;
    this.video.removeAttribute('src');
    this.video.load();
    URL.revokeObjectURL(this.url);
  }
}
