/** Attention of a model's layer. */
export interface AttentionShape {
  readonly name: string;
  readonly heads: number;
  readonly tokens: number;
  readonly headDim: number;
  /** Shares of keys left out. */
  readonly sparsities: readonly number[];
}

/** An MLP of a model's layer, width -> hidden -> width. */
export interface MlpShape {
  readonly name: string;
  readonly tokens: number;
  readonly width: number;
  readonly hidden: number;
  readonly sparsities: readonly number[];
}

export interface ShapeSet {
  readonly attention: readonly AttentionShape[];
  readonly mlp: readonly MlpShape[];
}

/** What a set of benchmarks covers; the published models' sizes for a GPU, the embedded model's for a CPU. */
export const shapeSets: Readonly<Record<string, ShapeSet>> = {
  flux: {
    attention: [{ name: "FLUX 1024²", heads: 24, tokens: 4608, headDim: 128, sparsities: [0.835, 0.93] }],
    mlp: [
      { name: "FLUX single", tokens: 4608, width: 3072, hidden: 12288, sparsities: [0.7, 0.9] },
      { name: "FLUX double", tokens: 4096, width: 3072, hidden: 12288, sparsities: [0.7, 0.9] },
    ],
  },
  "hunyuan-video": {
    attention: [
      { name: "HunyuanVideo 720p", heads: 24, tokens: 119_056, headDim: 128, sparsities: [0.93, 0.95] },
    ],
    mlp: [{ name: "HunyuanVideo", tokens: 119_040, width: 3072, hidden: 12288, sparsities: [0.7, 0.9] }],
  },
  wan: {
    attention: [
      { name: "Wan2.1-14B 720p", heads: 40, tokens: 75_600, headDim: 128, sparsities: [0.93] },
      { name: "Wan2.1-1.3B 480p", heads: 12, tokens: 32_760, headDim: 128, sparsities: [0.93] },
    ],
    mlp: [],
  },
  acorn: {
    attention: [
      { name: "acorn 256²", heads: 3, tokens: 1152, headDim: 128, sparsities: [0.85] },
      { name: "acorn 512²", heads: 3, tokens: 4224, headDim: 128, sparsities: [0.85] },
    ],
    mlp: [
      { name: "acorn 256²", tokens: 1152, width: 384, hidden: 1536, sparsities: [0.7] },
      { name: "acorn 512²", tokens: 4224, width: 384, hidden: 1536, sparsities: [0.7] },
    ],
  },
};
