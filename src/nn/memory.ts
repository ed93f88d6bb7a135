import type { Device, DeviceTensor, DType } from "../../ffi/index.ts";
import { TensorPool } from "./pool.ts";

/** Gives the tensors that the work of one stream needs, by how long they live. */
export class Memory implements Disposable {
  readonly #device: Device;
  readonly #activationType: DType;
  readonly #temporaries: TensorPool;

  constructor(device: Device, activationType: DType) {
    this.#device = device;
    this.#activationType = activationType;
    this.#temporaries = new TensorPool(device);
  }

  /** An uninitialised tensor for the work at hand, of the activation dtype or another, given back by `using`. */
  temporary(shape: readonly number[], dtype: DType = this.#activationType): DeviceTensor {
    return this.#temporaries.tensor(dtype, shape);
  }

  /** Keeps a temporary's memory as it is, also after its disposal, until the returned function is called. */
  hold(tensor: DeviceTensor): () => void {
    return this.#temporaries.hold(tensor);
  }

  /** An uninitialised tensor that any stream may use until it is disposed. */
  persistent(shape: readonly number[], dtype: DType = this.#activationType): DeviceTensor {
    return this.#device.tensor(dtype, shape);
  }

  [Symbol.dispose](): void {
    this.#temporaries[Symbol.dispose]();
  }
}
