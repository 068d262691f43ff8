// Working in small slices, so that the page answers while it computes.

const SLICE = 12; // milliseconds of work before the browser may draw and react

/** Lets the browser draw and react; with a number, for at least so many milliseconds. */
export function pause(milliseconds = 0) {
  if (milliseconds > 0) return new Promise((resolve) => setTimeout(resolve, milliseconds));
  return new Promise((resolve) => {
    const channel = new MessageChannel(); // a timer of 0 ms would wait for 4 ms
    channel.port1.onmessage = () => {
      channel.port1.close();
      resolve();
    };
    channel.port2.postMessage(null);
  });
}

/** A piece of work that can be stopped: `while (!work.stopped) { …; await work.breathe(); }`. */
export class SlicedWork {
  constructor() {
    this.stopped = false;
    this.began = performance.now();
  }

  stop() {
    this.stopped = true;
  }

  /** Pauses if this slice is over, or for some milliseconds. */
  async breathe(milliseconds = 0) {
    if (milliseconds === 0 && performance.now() - this.began < SLICE) return;
    await pause(milliseconds);
    this.began = performance.now();
  }
}

/** A function that runs when nobody has called it again for some milliseconds; `flush` runs what is still waiting. */
export function debounced(run, wait) {
  let timer = null;
  const now = () => {
    clearTimeout(timer);
    timer = null;
    run();
  };
  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(now, wait);
  };
  soon.flush = () => timer !== null && now();
  return soon;
}
