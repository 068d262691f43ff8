// Byte-pair encoding: of the merges that are possible now, the one that was found first in training is next. As in
// gptlab/merging.py. Bytes are written as a text with one character for each, so that a Map finds them.

/**
 * The tokens of a chunk, for short chunks: look at every pair again after each merge.
 * @param {string} chunk - bytes
 * @param {Map<string, number>} ranks - the bytes of each token and its id
 * @returns {string[]} tokens; joined, they are the chunk again
 */
export function mergeByRank(chunk, ranks) {
  const parts = Array.from(chunk);
  while (parts.length > 1) {
    let best = 0;
    let bestRank = Infinity;
    for (let i = 1; i < parts.length; i++) {
      const rank = ranks.get(parts[i - 1] + parts[i]);
      if (rank !== undefined && rank < bestRank) {
        best = i;
        bestRank = rank;
      }
    }
    if (best === 0) break;
    parts.splice(best - 1, 2, parts[best - 1] + parts[best]);
  }
  return parts;
}

/**
 * The tokens of mergeByRank, for a chunk of any length: n log n steps for n bytes instead of n squared.
 * @param {string} chunk - bytes
 * @param {Map<string, number>} ranks - the bytes of each token and its id
 * @returns {string[]}
 */
export function mergeByHeap(chunk, ranks) {
  const length = chunk.length;
  const end = Array.from({ length }, (_, i) => i + 1); // where the part that starts here ends; 0 once it is merged away
  const start = Array.from({ length: length + 1 }, (_, i) => i - 1); // where the part that ends here starts
  const heap = [];
  const offer = (left, stop) => {
    const rank = ranks.get(chunk.slice(left, stop));
    if (rank !== undefined) pushEntry(heap, [rank, left, stop]);
  };
  for (let i = 0; i + 2 <= length; i++) offer(i, i + 2);
  while (heap.length > 0) {
    const [, left, stop] = popEntry(heap);
    const right = end[left];
    if (right === 0 || right >= stop || end[right] !== stop) continue; // one of the two parts is no longer there
    end[left] = stop;
    end[right] = 0;
    start[stop] = left;
    if (left > 0) offer(start[left], stop);
    if (stop < length) offer(left, end[stop]);
  }
  const parts = [];
  for (let i = 0; i < length; i = end[i]) parts.push(chunk.slice(i, end[i]));
  return parts;
}

/** Whether an entry [rank, left, stop] comes before another: by rank, then from left to right. */
function comesBefore(a, b) {
  return a[0] !== b[0] ? a[0] < b[0] : a[1] !== b[1] ? a[1] < b[1] : a[2] < b[2];
}

/** Put an entry into a binary heap: the children of i are 2i + 1 and 2i + 2, and none comes before its parent. */
function pushEntry(heap, entry) {
  let i = heap.length;
  while (i > 0) {
    const parent = (i - 1) >> 1;
    if (!comesBefore(entry, heap[parent])) break;
    heap[i] = heap[parent];
    i = parent;
  }
  heap[i] = entry;
}

/** Take the first entry out of a binary heap. */
function popEntry(heap) {
  const first = heap[0];
  const entry = heap.pop();
  for (let i = 0; heap.length > 0; ) {
    let child = 2 * i + 1;
    if (child + 1 < heap.length && comesBefore(heap[child + 1], heap[child])) child++;
    if (child >= heap.length || !comesBefore(heap[child], entry)) {
      heap[i] = entry;
      break;
    }
    heap[i] = heap[child];
    i = child;
  }
  return first;
}
