export { Allocation } from "./allocation.ts";
export { Device, type DeviceInfo, type DeviceOptions } from "./device.ts";
export { type DType, dtypes } from "./dtype.ts";
export { TamiasError } from "./errors.ts";
export { Event } from "./event.ts";
export { type Backend, libraryPath, NativeLibrary } from "./library.ts";
export { Stream } from "./stream.ts";
export { DeviceTensor } from "./tensor.ts";
