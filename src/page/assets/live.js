// One stream as it comes: records, and the frames that they are about.

import { socketAddress } from './api.js';

/** Records that are kept for the pictures that come after them. */
const KEPT = 400;
/** How long until a connection that broke is tried again: from, to. */
const AGAIN = [500, 10_000];
/** Times that are so near are those of one frame, ns: rounding moves them. */
const SAME = 8e6;

export class Live extends EventTarget {
  /**
   * `video` is what is wanted beside records: `mp4` or `jpeg`. Events: `record` (detail: the record), `frame` (detail:
   * {record, image}), `open`, `film` (detail: what begins, or nothing where there is none), `part` (detail: bytes of it), `state`
   * (detail: words, or nothing).
   */
  constructor(name, video) {
    super();
    this.name = name;
    this.video = video;
    this.records = new Map();
    this.wait = AGAIN[0];
    this.open();
  }

  say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  open() {
    this.say('state', 'connecting');
    const socket = new WebSocket(socketAddress(this.name, this.video));
    this.socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      this.wait = AGAIN[0];
      this.say('state', 'waiting for a frame');
      this.say('open');
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === 'string') {
        this.line(JSON.parse(data));
      } else if (this.video === 'mp4') {
        this.say('part', data);
      } else {
        this.picture(data);
      }
    };
    socket.onclose = ({ code }) => {
      if (this.closed) {
        return;
      }
      if (this.again) {
        this.again = false;
        this.open();
        return;
      }
      if (code === 1000 || code === 1005) {
        this.say('state', 'the stream has ended');
        return;
      }
      this.say('state', 'the connection is lost; it is tried again');
      this.timer = setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(2 * this.wait, AGAIN[1]);
    };
  }

  line(line) {
    if (line.schema?.startsWith('spotter.frame/')) {
      this.records.set(line.seq, line);
      if (this.records.size > KEPT) {
        this.records.delete(this.records.keys().next().value);
      }
      this.say('record', line);
    } else if (line.event === 'gap_start' || line.event === 'gap_retry') {
      this.say('state', `no picture: ${line.reason}`);
    } else if (line.film !== undefined) {
      this.say('film', line.film);
    } else if (line.lost) {
      this.lost = (this.lost ?? 0) + line.lost;
    }
  }

  /** The record of the frame that is shown at a time; none where it is not known, or not yet. */
  at(pts_ns) {
    let nearest = null;
    for (const record of this.records.values()) {
      if (record.pts_ns === null || Math.abs(record.pts_ns - pts_ns) > SAME) continue;
      if (!nearest || Math.abs(record.pts_ns - pts_ns) < Math.abs(nearest.pts_ns - pts_ns)) nearest = record;
    }
    return nearest;
  }

  /** The newest record of a frame that was measured, up to a time. */
  before(pts_ns) {
    let newest = null;
    for (const record of this.records.values()) {
      if (record.status === 'measured' && record.pts_ns <= pts_ns) newest = record;
    }
    return newest;
  }

  /** From now on with pictures of another kind. */
  change(video) {
    this.video = video;
    this.again = true;
    this.socket.close();
  }

  async picture(data) {
    const seq = Number(new DataView(data).getBigUint64(0));
    const image = await createImageBitmap(new Blob([data.slice(8)], { type: 'image/jpeg' }));
    const record = this.records.get(seq);
    // A frame without its record would show boxes of another one; and decoders may finish in another order.
    if (!record || this.closed || seq < this.shown) {
      image.close();
      return;
    }
    this.shown = seq;
    this.say('state', '');
    this.say('frame', { record, image });
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket.close();
  }
}
