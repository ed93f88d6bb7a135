export { Allocation } from "./allocation.ts";
export { countDevices, Device, type DeviceInfo, type DeviceOptions, Stream } from "./device.ts";
export { type DType, dtypes } from "./dtype.ts";
export { TamiasError } from "./errors.ts";
export { Event } from "./event.ts";
export { type Backend, libraryPath, NativeLibrary } from "./library.ts";
export { RemoteStream } from "./remote-stream.ts";
export type { Span } from "./span-recorder.ts";
export { DeviceTensor } from "./tensor.ts";
