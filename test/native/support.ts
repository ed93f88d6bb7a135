/** What the tests of the native libraries are written with. */
export { Bench, type OperandOptions } from "./support/bench.ts";
export { expectClose, expectEqual, relativeError, tolerance } from "./support/compare.ts";
export { encoded, readTensor, stored } from "./support/dtypes.ts";
export { allLayouts, type Layout, rowLayouts } from "./support/layout.ts";
export { type Chosen, Mask, type MaskShape, raggedLists, readMask } from "./support/mask.ts";
export { nativeTests, testBackend, testSeed, TIMEOUT_MILLISECONDS } from "./support/native-tests.ts";
export type { Operand } from "./support/operand.ts";
export { Random } from "./support/random.ts";
export { forEachIndex, Values } from "./support/values.ts";
export { Windows } from "./support/windows.ts";
