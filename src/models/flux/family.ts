import { join } from "node:path";
import { type DeviceTensor, TamiasError } from "../../../ffi/index.ts";
import type { ModuleDescription } from "../../delta/cells.ts";
import type { Ops } from "../../nn/index.ts";
import { FlowMatchEuler } from "../../samplers/flow-match-euler.ts";
import { openCheckpoint } from "../../weights/diffusers-folder.ts";
import { AutoencoderKL, type DecodeOptions } from "../autoencoder-kl.ts";
import type {
  Conditioning,
  Extent,
  Family,
  FamilyKind,
  GoldenRun,
  Grid,
  PictureSizes,
  RequestDefaults,
  TextRequest,
  TokenLayout,
} from "../family.ts";
import type { Golden } from "../shared/golden.ts";
import { ClipTextModel } from "../text/clip.ts";
import { T5Encoder } from "../text/t5.ts";
import { TextStates } from "../text/text-states.ts";
import { TextTokenizer } from "../text/tokenizer.ts";
import { FluxConditioning } from "./conditioning.ts";
import { goldenParts, goldenRun } from "./golden.ts";
import { packLatents, PATCH, unpackLatents } from "./latents.ts";
import { FluxTransformer } from "./transformer.ts";

/** T5 tokens FLUX uses unless the tokenizer asks for fewer. */
const MAX_TEXT_TOKENS = 512;
const CLIP_TOKENS = 77;

/** Checkpoints distilled with guidance (dev) take more steps than those distilled to few steps without it (schnell). */
const GUIDED_DEFAULTS: RequestDefaults = { steps: 20, guidance: 3.5 };
const UNGUIDED_DEFAULTS: RequestDefaults = { steps: 4, guidance: null };

/** FLUX.1 (black-forest-labs), text to image, in diffusers' layout. */
export const flux: FamilyKind = {
  pipeline: "FluxPipeline",
  title: "FLUX.1 (text to image)",
  async open(folder, { text } = { text: true }) {
    const files = await openFiles(folder, text);
    return { load: (ops) => FluxFamily.load(ops, files) };
  },
  goldenParts,
};

interface Parts {
  readonly transformer: FluxTransformer;
  readonly autoencoder: AutoencoderKL;
  readonly sampler: FlowMatchEuler;
  readonly text: TextParts | undefined;
}

interface TextParts {
  /** Of the latest prompts. */
  readonly states: TextStates<"context" | "pooled">;
  readonly clip: ClipTextModel;
  readonly t5: T5Encoder;
  readonly clipTokenizer: TextTokenizer;
  readonly t5Tokenizer: TextTokenizer;
}

/** Two text encoders, the transformer, the autoencoder and the sampler of one FLUX.1 checkpoint. */
class FluxFamily implements Family {
  readonly #ops: Ops;
  readonly #parts: Parts;
  readonly #loaded: DisposableStack;

  static async load(ops: Ops, { text, transformer, autoencoder, sampler }: Files): Promise<FluxFamily> {
    using loading = new DisposableStack();
    const parts: Parts = {
      text: text && {
        ...text,
        states: loading.use(new TextStates(ops.stream.device)),
        clip: loading.use(ClipTextModel.load(ops, text.clip)),
        t5: loading.use(T5Encoder.load(ops, text.t5)),
      },
      transformer: loading.use(FluxTransformer.load(ops, transformer)),
      autoencoder: loading.use(AutoencoderKL.load(ops, autoencoder)),
      sampler,
    };
    await ops.stream.finished();
    return new FluxFamily(ops, parts, loading.move());
  }

  private constructor(ops: Ops, parts: Parts, loaded: DisposableStack) {
    this.#ops = ops;
    this.#parts = parts;
    this.#loaded = loaded;
  }

  get sizes(): PictureSizes {
    const { factor, sampleSize } = this.#parts.autoencoder;
    return { native: sampleSize, multiple: factor * PATCH };
  }

  get defaults(): RequestDefaults {
    return this.#parts.transformer.usesGuidance ? GUIDED_DEFAULTS : UNGUIDED_DEFAULTS;
  }

  get weightBytes(): Readonly<Record<string, number>> {
    const { text, transformer, autoencoder } = this.#parts;
    return {
      ...(text ? { text_encoder: text.clip.parameterBytes, text_encoder_2: text.t5.parameterBytes } : {}),
      transformer: transformer.parameterBytes,
      vae: autoencoder.parameterBytes,
    };
  }

  get sampler(): FlowMatchEuler {
    return this.#parts.sampler;
  }

  get tokenChannels(): number {
    return this.#parts.transformer.inChannels;
  }

  grid({ width, height }: Extent): Grid {
    const { multiple } = this.sizes;
    return [1, height / multiple, width / multiple];
  }

  modules({ latent, text }: { latent: number; text: number }): readonly ModuleDescription[] {
    return this.#parts.transformer.modules({ textTokens: text, imageTokens: latent });
  }

  latentShape([, rows, columns]: Grid): readonly number[] {
    return [1, this.tokenChannels / PATCH ** 2, rows * PATCH, columns * PATCH];
  }

  pack(latents: DeviceTensor, tokens: DeviceTensor): void {
    packLatents(this.#ops, latents, tokens);
  }

  unpack(tokens: DeviceTensor, latents: DeviceTensor): void {
    unpackLatents(this.#ops, tokens, latents);
  }

  condition({ prompt, guidance }: TextRequest, layout: TokenLayout): Conditioning {
    const { text: encoders } = this.#parts;
    if (!encoders)
      throw new TamiasError(
        "unsupported",
        "This model was loaded without its text encoders: it takes no prompt.",
      );
    const lease = encoders.states.take(prompt, () => encode(encoders, prompt));
    const text = { ...lease.states, guidance, owner: lease };
    return new FluxConditioning(this.#ops, this.#parts.transformer, text, layout);
  }

  decode(latents: DeviceTensor, options?: DecodeOptions): DeviceTensor {
    return this.#parts.autoencoder.decodeScaled(latents, options);
  }

  goldenRun(golden: Golden): Promise<GoldenRun> {
    return goldenRun(this.#ops, this.#parts.transformer, this.sizes.multiple, golden);
  }

  [Symbol.dispose](): void {
    this.#loaded[Symbol.dispose]();
  }
}

type Files = Awaited<ReturnType<typeof openFiles>>;

async function openFiles(folder: string, withText: boolean) {
  const checkpoint = (part: string) => openCheckpoint(join(folder, part));
  const [text, transformer, autoencoder, sampler] = await Promise.all([
    withText ? openTextFiles(folder) : undefined,
    checkpoint("transformer"),
    checkpoint("vae"),
    FlowMatchEuler.open(join(folder, "scheduler")),
  ]);
  return { text, transformer, autoencoder, sampler };
}

async function openTextFiles(folder: string) {
  const [clip, t5, clipTokenizer, t5Tokenizer] = await Promise.all([
    openCheckpoint(join(folder, "text_encoder")),
    openCheckpoint(join(folder, "text_encoder_2")),
    TextTokenizer.open(join(folder, "tokenizer")),
    TextTokenizer.open(join(folder, "tokenizer_2")),
  ]);
  return { clip, t5, clipTokenizer, t5Tokenizer };
}

/** T5's states [1, textTokens, jointDim] and CLIP's pooled state [1, pooledDim] of a prompt. */
function encode(
  { clip, t5, clipTokenizer, t5Tokenizer }: TextParts,
  prompt: string,
): Record<"context" | "pooled", DeviceTensor> {
  const textTokens = Math.min(t5Tokenizer.maxLength ?? MAX_TEXT_TOKENS, MAX_TEXT_TOKENS);
  using made = new DisposableStack();
  const context = made.use(t5.encode([t5Tokenizer.encode(prompt, textTokens)]));
  const { lastHiddenState, pooled } = clip.encode([clipTokenizer.encode(prompt, CLIP_TOKENS)]);
  lastHiddenState[Symbol.dispose]();
  made.move();
  return { context, pooled };
}
