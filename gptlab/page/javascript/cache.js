// The KV cache: what the model has computed about the past, so that a new token costs one token's work.

/** Keys and values of every layer, and the last inputs of each convolution. As in gptlab/cache.py. */
export class KVCache {
  /**
   * @param {object} model - as loadModel gives it
   * @param {number} maxLength - the tokens that it can hold
   */
  constructor(model, maxLength = model.config.context) {
    this.maxLength = maxLength;
    this.length = 0; // tokens that it holds
    this.layers = model.blocks.map(({ attention, convolution }) => ({
      k: new Float32Array(maxLength * attention.G * attention.hs),
      v: new Float32Array(maxLength * attention.G * attention.hs),
      window: convolution === null ? null : new Float32Array((convolution.width - 1) * convolution.C),
    }));
  }

  /** Forget everything, to begin with another text. */
  reset() {
    this.length = 0;
    for (const layer of this.layers) if (layer.window !== null) layer.window.fill(0);
  }
}
