/* Tamias: the one contract between TypeScript and native code.
 *
 * libtamias_cpu.so and libtamias_cuda.so export exactly these functions. `ffi/symbols.ts` is the same table in
 * TypeScript; a test proves that header, table and libraries agree.
 *
 * Rules that hold for every function
 * - Returns a status: TAMIAS_OK, or an error whose sentence `tamias_last_error` gives on the same thread. Every handle,
 *   pointer, shape, stride and count is checked before anything runs; a wrong call changes nothing.
 * - Handles (device, stream, event) are opaque 64-bit numbers, checked on use; 0 is never a handle.
 * - A `tamias_tensor` is a view: address, dtype, shape and strides (in elements). It is read during the call only. Its
 *   whole extent must lie inside one live allocation of `tamias_memory_alloc` of the stream's device, in the device's
 *   memory unless the text says "may be in host memory". A pointer to a tensor may be NULL only where the text says
 *   "optional". A dimension may be 0: then nothing is read or written.
 * - Functions that take a stream queue their work there and return at once; work of one stream runs in order. They
 *   allocate nothing and never wait, except where the text says so. Scratch memory comes from the stream's workspace
 *   (`tamias_stream_reserve`): too small a workspace is TAMIAS_WORKSPACE, nothing has run, and
 *   `tamias_stream_workspace_needed` says how many bytes the refused call wants.
 * - Outputs must not overlap inputs unless the text says "may be in place".
 * - "rows" of a tensor: its last dimension is contiguous (stride 1). Unless said otherwise all others may be strided.
 * - Arithmetic and accumulation are fp32. The CPU library takes F32 activations and F32, BF16 or F16 weights; the CUDA
 *   library BF16 or F32 activations and weights: q, k, v and out of an attention, x and the slabs of an MLP are of one
 *   dtype, other tensors of an op may differ. Log-sum-exps, scores, means and MLP output caches are always F32.
 * - No function takes a struct by value, returns a string, or calls back.
 */
#ifndef TAMIAS_H
#define TAMIAS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TAMIAS_API __attribute__((visibility("default")))

/* Raised whenever a signature, struct or meaning below changes. */
#define TAMIAS_ABI_VERSION 2

#define TAMIAS_MAX_RANK 6

/* Neighbouring queries that share one attention mask, and neighbouring tokens that share one neuron mask, unless the
 * caller asks for another size. Every backend must support these; the CPU backend supports any size from 1 to 4096. */
#define TAMIAS_QUERY_GROUP 128
#define TAMIAS_TOKEN_GROUP 128

/* A count of this value means "every column": the group runs dense and its index list is not read. */
#define TAMIAS_ALL_COLUMNS (-1)

enum tamias_status {
  TAMIAS_OK = 0,
  TAMIAS_INVALID_ARGUMENT = 1,
  TAMIAS_OUT_OF_MEMORY = 2, /* the message names the bytes asked for and the bytes free */
  TAMIAS_IO = 3,            /* a file is missing, unreadable or too short */
  TAMIAS_UNSUPPORTED = 4,   /* a valid call that this backend or device cannot do */
  TAMIAS_WORKSPACE = 5,     /* the stream's workspace is too small */
  TAMIAS_DEVICE = 6,        /* the device failed, or work queued earlier on the stream did */
  TAMIAS_NOT_READY = 7      /* tamias_event_query: not reached yet */
};

enum tamias_dtype {
  TAMIAS_F32 = 0,
  TAMIAS_BF16 = 1,
  TAMIAS_F16 = 2,
  TAMIAS_I8 = 3,
  TAMIAS_F8_E4M3 = 4,
  TAMIAS_I32 = 5,
  TAMIAS_U16 = 6,
  TAMIAS_U8 = 7
};

enum tamias_place {
  TAMIAS_DEVICE_MEMORY = 0,
  TAMIAS_HOST_MEMORY = 1 /* pinned, so that streams reach it beside other work */
};

enum tamias_activation {
  TAMIAS_IDENTITY = 0,
  TAMIAS_SILU = 1,
  TAMIAS_GELU_TANH = 2,
  TAMIAS_GELU_ERF = 3,
  TAMIAS_QUICK_GELU = 4 /* x * sigmoid(1.702 x) */
};

enum tamias_rope_layout {
  TAMIAS_ROPE_PAIRS = 0, /* rotates (x[2i], x[2i+1]): FLUX, Wan, HunyuanVideo */
  TAMIAS_ROPE_HALVES = 1 /* rotates (x[i], x[i + headDim/2]): LLaMA */
};

enum tamias_cache_rule {
  TAMIAS_CACHE_NONE = 0,    /* only the chosen columns: out = O_S */
  TAMIAS_CACHE_CONTROL = 1, /* control variate: out = C + beta * O_S; beta = 1 is the difference cache */
  TAMIAS_CACHE_LSE = 2      /* log-sum-exp: (O_S, L_S) merged with the partial softmax (O_R, L_R) of the rest */
};

typedef struct tamias_tensor {
  uint64_t data;                    /* device address of element [0, 0, ...] */
  int32_t dtype;                    /* enum tamias_dtype */
  int32_t rank;                     /* 1 .. TAMIAS_MAX_RANK */
  int64_t shape[TAMIAS_MAX_RANK];   /* entries from `rank` on are ignored */
  int64_t stride[TAMIAS_MAX_RANK];  /* in elements, >= 0; 0 repeats (inputs only) */
} tamias_tensor;

typedef struct tamias_device_info {
  uint32_t size;            /* in: sizeof(tamias_device_info) */
  int32_t is_gpu;           /* 0 or 1 */
  int32_t threads;          /* CPU: threads an op may use; CUDA: streaming multiprocessors */
  int32_t query_group;      /* preferred group sizes */
  int32_t token_group;
  int32_t reserved;
  uint64_t bytes_total;     /* memory of the device */
  uint64_t bytes_free;
  uint64_t bytes_allocated; /* by tamias_memory_alloc in the device's memory and for workspaces, live now */
  uint64_t host_bytes_allocated; /* by tamias_memory_alloc in host memory, live now */
  char name[128];           /* NUL-terminated, e.g. "NVIDIA H200" or "CPU, AVX-512" */
} tamias_device_info;

/* ---- library -------------------------------------------------------------------------------------------------- */

/* Returns TAMIAS_ABI_VERSION of the library (not a status). */
TAMIAS_API int32_t tamias_abi_version(void);

/* Copies the NUL-terminated sentence of this thread's last error into `text` (cut to `capacity` bytes). */
TAMIAS_API int32_t tamias_last_error(char* text, uint64_t capacity);

/* ---- devices, memory ------------------------------------------------------------------------------------------ */

/* Number of devices this library can open (CPU: 1; CUDA without driver or GPU: 0, and TAMIAS_OK). */
TAMIAS_API int32_t tamias_device_count(int32_t* count);

/* Opens device `index`. `threads`: CPU threads one op may use, 0 = all cores of this process; ignored by CUDA. */
TAMIAS_API int32_t tamias_device_open(int32_t index, int32_t threads, uint64_t* device);

/* Waits for the device's streams and frees all that belongs to it: streams, events, memory. */
TAMIAS_API int32_t tamias_device_close(uint64_t device);

TAMIAS_API int32_t tamias_device_info_get(uint64_t device, tamias_device_info* info);

/* `place`: enum tamias_place. `address`: 256-byte aligned, uninitialised. bytes > 0. Host memory is taken by tamias_copy,
 * tamias_tensor_load, tamias_memory_write and tamias_memory_read, and refused by every other call; to the CPU library it
 * is memory like any other, and refused where the CUDA library refuses it. */
TAMIAS_API int32_t tamias_memory_alloc(uint64_t device, uint64_t bytes, int32_t place, uint64_t* address);

/* Waits for the device's streams, then frees. `address` must come from tamias_memory_alloc. */
TAMIAS_API int32_t tamias_memory_free(uint64_t device, uint64_t address);

/* Copies the caller's bytes to an allocation, in stream order. `source` may be reused on return. */
TAMIAS_API int32_t tamias_memory_write(uint64_t stream, uint64_t address, const void* source, uint64_t bytes);

/* Copies bytes of an allocation to the caller, in stream order. Waits until done. */
TAMIAS_API int32_t tamias_memory_read(uint64_t stream, void* destination, uint64_t address, uint64_t bytes);

/* ---- streams, events ------------------------------------------------------------------------------------------ */

TAMIAS_API int32_t tamias_stream_create(uint64_t device, uint64_t workspace_bytes, uint64_t* stream);

/* Waits for its work, then destroys. */
TAMIAS_API int32_t tamias_stream_destroy(uint64_t stream);

/* Waits for all work queued so far; TAMIAS_DEVICE if any of it failed (the failure is then cleared). */
TAMIAS_API int32_t tamias_stream_synchronize(uint64_t stream);

/* Grows the workspace to at least `bytes` (waits for the stream first); 0 gives it up. */
TAMIAS_API int32_t tamias_stream_reserve(uint64_t stream, uint64_t bytes);

/* Workspace bytes wanted by the last call on this stream that returned TAMIAS_WORKSPACE. */
TAMIAS_API int32_t tamias_stream_workspace_needed(uint64_t stream, uint64_t* bytes);

TAMIAS_API int32_t tamias_event_create(uint64_t device, uint64_t* event);
TAMIAS_API int32_t tamias_event_destroy(uint64_t event);

/* Marks the point reached by the stream's work queued so far. Recording again moves the mark. */
TAMIAS_API int32_t tamias_event_record(uint64_t event, uint64_t stream);

/* Work queued on `stream` from now on waits for the event's last record (any stream of the device). Never recorded:
 * no wait. The calling thread does not wait. */
TAMIAS_API int32_t tamias_event_wait(uint64_t event, uint64_t stream);

/* TAMIAS_OK when the last record is reached (or there was none), else TAMIAS_NOT_READY. */
TAMIAS_API int32_t tamias_event_query(uint64_t event);
TAMIAS_API int32_t tamias_event_synchronize(uint64_t event);

/* Seconds from `start` to `end`; both recorded and reached. */
TAMIAS_API int32_t tamias_event_elapsed(uint64_t start, uint64_t end, double* seconds);

/* ---- moving data ---------------------------------------------------------------------------------------------- */

/* Reads `out`'s elements, contiguous in row-major order and of type `file_dtype`, from byte `offset` of the file and
 * converts them to out's dtype (F32, BF16 or F16; the same dtype is copied as it is). out: contiguous, any rank; may be
 * in host memory.
 * Blocks until the file has been read. */
TAMIAS_API int32_t tamias_tensor_load(uint64_t stream, const char* path, uint64_t offset, int32_t file_dtype,
                                      const tamias_tensor* out);

/* x[r, :] *= scale[r], or scale[0] for all rows where scale has one element. x: [rows, columns], scale: F32. */
TAMIAS_API int32_t tamias_scale_rows(uint64_t stream, const tamias_tensor* x, const tamias_tensor* scale);

/* out = in, element by element, same shape, any strides and floating dtypes (or any one dtype on both sides). The way
 * to transpose, permute, slice, concatenate and convert. Either may be in host memory: between the device and the host
 * contiguous tensors of one dtype pass beside other streams' kernels (DMA); anything else is right but slow. */
TAMIAS_API int32_t tamias_copy(uint64_t stream, const tamias_tensor* in, const tamias_tensor* out);

/* out = value everywhere. Any dtype (rounded to nearest, saturated). */
TAMIAS_API int32_t tamias_fill(uint64_t stream, double value, const tamias_tensor* out);

/* out[b, i, :] = table[b, indices[i], :]. table: [rows, d] with out [n, d], or [batch, rows, d] with [batch, n, d];
 * indices: I32 [n], each in 0..rows-1 (clamped on the device). Embeddings and token reorder. */
TAMIAS_API int32_t tamias_gather_rows(uint64_t stream, const tamias_tensor* table, const tamias_tensor* indices,
                                      const tamias_tensor* out);

/* How far a tensor moved: out, F32 [2] = { sum |now - before|, sum |before| } over all elements, or { sum |now|, 0 }
 * without `before` (optional, now's shape). Any strides and floating dtypes. Summed in one order: the same call gives the
 * same bytes. A NaN or an infinity in a tensor reaches out; sums beyond F32 are infinite. */
TAMIAS_API int32_t tamias_change_norms(uint64_t stream, const tamias_tensor* now, const tamias_tensor* before,
                                       const tamias_tensor* out);

/* ---- element-wise; same shapes, any strides (0 repeats), out may be in place of an input ----------------------- */

TAMIAS_API int32_t tamias_activate(uint64_t stream, int32_t activation, const tamias_tensor* x,
                                   const tamias_tensor* out);

/* out = alpha * a + beta * b */
TAMIAS_API int32_t tamias_combine(uint64_t stream, float alpha, const tamias_tensor* a, float beta,
                                  const tamias_tensor* b, const tamias_tensor* out);

/* out = a * b */
TAMIAS_API int32_t tamias_multiply(uint64_t stream, const tamias_tensor* a, const tamias_tensor* b,
                                   const tamias_tensor* out);

/* out = residual + gate * x. x, residual, out: [batch, tokens, d]; gate: [batch, d]. out may be residual. */
TAMIAS_API int32_t tamias_gate_residual(uint64_t stream, const tamias_tensor* residual, const tamias_tensor* gate,
                                        const tamias_tensor* x, const tamias_tensor* out);

/* ---- dense layers --------------------------------------------------------------------------------------------- */

/* out = activation(x W^T + bias), or += if `accumulate` is 1 (then activation must be TAMIAS_IDENTITY).
 * x: rows [..., in], out: rows [..., n] (rank 2 or 3, same leading shape); bias: [n], optional. weight: [n, in], either
 * rows with a stride >= in (a column slice of a wider weight is allowed), or a transposed view of rows [in, n]: stride 1
 * along n and >= n along in. */
TAMIAS_API int32_t tamias_linear(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight,
                                 const tamias_tensor* bias, int32_t activation, int32_t accumulate,
                                 const tamias_tensor* out);

/* out = norm(x) * weight + bias, then * (1 + scale) + shift; norm over the last dimension: (x - mean) /
 * sqrt(variance + epsilon). x, out: rows [batch, tokens, d]; weight, bias: [d], optional; scale, shift: [batch, d],
 * optional. May be in place. */
TAMIAS_API int32_t tamias_layer_norm(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight,
                                     const tamias_tensor* bias, const tamias_tensor* scale, const tamias_tensor* shift,
                                     float epsilon, const tamias_tensor* out);

/* out = x / sqrt(mean(x^2) + epsilon) * weight over the last dimension. x, out: rows, rank 2..4; weight: [d],
 * optional. May be in place. */
TAMIAS_API int32_t tamias_rms_norm(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight, float epsilon,
                                   const tamias_tensor* out);

/* Rotary embedding after an optional RMS norm of each head. x, out: rows [batch, heads, tokens, headDim]; weight:
 * [headDim], optional (NULL: no norm); cos, sin: F32 [tokens, headDim / 2], optional together (NULL: no rotation).
 * May be in place. */
TAMIAS_API int32_t tamias_norm_rope(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight, float epsilon,
                                    const tamias_tensor* cos, const tamias_tensor* sin, int32_t rope_layout,
                                    const tamias_tensor* out);

/* Softmax attention. q: rows [batch, heads, queries, headDim]; k, v: rows [batch, heads, keys, headDim]; out like q.
 * bias: F32 [heads, queries, keys], optional, added to the scaled logits (any strides); causal: 1 masks keys after the
 * query's own position. lse: F32 [batch, heads, queries], optional output: natural log of the softmax denominator. */
TAMIAS_API int32_t tamias_attention(uint64_t stream, const tamias_tensor* q, const tamias_tensor* k,
                                    const tamias_tensor* v, const tamias_tensor* bias, float scale, int32_t causal,
                                    const tamias_tensor* out, const tamias_tensor* lse);

/* ---- convolutional autoencoder; x, out: contiguous [batch, channels, height, width] ---------------------------- */

/* weight: contiguous [outChannels, channels, kh, kw]; bias: [outChannels], optional. Zero padding per side. */
TAMIAS_API int32_t tamias_conv2d(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight,
                                 const tamias_tensor* bias, int32_t stride, int32_t pad_top, int32_t pad_bottom,
                                 int32_t pad_left, int32_t pad_right, const tamias_tensor* out);

/* Normalises each group of channels, then weight, bias ([channels], optional) and activation. May be in place. moments:
 * optional, the statistics to normalise with where x is a part of a picture (NULL: x's own). */
TAMIAS_API int32_t tamias_group_norm(uint64_t stream, const tamias_tensor* x, int32_t groups,
                                     const tamias_tensor* moments, const tamias_tensor* weight,
                                     const tamias_tensor* bias, float epsilon, int32_t activation,
                                     const tamias_tensor* out);

/* Adds what x has to the statistics of each group of channels. moments: F32 contiguous [batch, groups, 3]: number of
 * elements, their mean, and the sum of their squared distances from it; zeros before the first part of a picture. */
TAMIAS_API int32_t tamias_group_moments(uint64_t stream, const tamias_tensor* x, int32_t groups,
                                        const tamias_tensor* moments);

/* Nearest-neighbour up-sampling by whole factor: out [batch, channels, height * factor, width * factor]. */
TAMIAS_API int32_t tamias_upsample_nearest(uint64_t stream, const tamias_tensor* x, int32_t factor,
                                           const tamias_tensor* out);

/* x: [3, height, width] in [-1, 1] (clamped) -> out: U8 contiguous [height, width, 3]. */
TAMIAS_API int32_t tamias_image_rgb8(uint64_t stream, const tamias_tensor* x, const tamias_tensor* out);

/* ---- masks ----------------------------------------------------------------------------------------------------
 * Scores: F32 rows [batch, lists, groups, columns] (lists = heads for attention, 1 for an MLP). A mask is indices: I32,
 * or U16 when columns <= 65,536, contiguous [batch, lists, groups, capacity], ascending and without repeats in each
 * group, and counts: I32 contiguous [batch, lists, groups]; entries past a group's count are undefined.
 * always: U8 [columns], optional: nonzero columns are chosen whatever their score, before others. dense_groups: U8
 * [groups], optional: nonzero groups get TAMIAS_ALL_COLUMNS. NaN scores count as lowest. Ties: the lower column wins.
 * A selection that would not fit `capacity` keeps the always columns first, then the best scores. */

/* Chooses exactly min(k, columns) columns of each group, always-columns included (more where these alone are more). */
TAMIAS_API int32_t tamias_select_top_k(uint64_t stream, const tamias_tensor* scores, int64_t k,
                                       const tamias_tensor* always, const tamias_tensor* dense_groups,
                                       const tamias_tensor* indices, const tamias_tensor* counts);

/* Chooses the fewest best columns whose scores reach `mass` (0..1) of the group's sum of non-negative scores, at least
 * `minimum`, at most `maximum` columns. */
TAMIAS_API int32_t tamias_select_mass(uint64_t stream, const tamias_tensor* scores, float mass, int64_t minimum,
                                      int64_t maximum, const tamias_tensor* always, const tamias_tensor* dense_groups,
                                      const tamias_tensor* indices, const tamias_tensor* counts);

/* Chooses the columns above mean + z * standard deviation of the group's scores (no sort), at most `maximum`. */
TAMIAS_API int32_t tamias_select_threshold(uint64_t stream, const tamias_tensor* scores, float z, int64_t maximum,
                                           const tamias_tensor* always, const tamias_tensor* dense_groups,
                                           const tamias_tensor* indices, const tamias_tensor* counts);

/* The same lists in fewer bytes. packed: U8 contiguous [batch, lists, groups, bytes]. A code below 255 is a chosen column:
 * so many columns are left out before it; 255 leaves out 255 columns and chooses none. A list of k of the columns takes
 * at most k + (columns - k) / 255 codes, rounded down; bytes must be at least that for k = min(capacity, columns), or the
 * call is refused. What lies past a list's codes, and the bytes of a TAMIAS_ALL_COLUMNS group, are not written. A list
 * that is not ascending fails like one with a wrong index. */
TAMIAS_API int32_t tamias_mask_pack(uint64_t stream, const tamias_tensor* indices, const tamias_tensor* counts,
                                    int64_t columns, const tamias_tensor* packed);

/* indices = the lists that were packed with these counts. Entries past a count are not written. */
TAMIAS_API int32_t tamias_mask_unpack(uint64_t stream, const tamias_tensor* packed, const tamias_tensor* counts,
                                      const tamias_tensor* indices);

/* Means over each group of `group` neighbouring tokens (the last group may be short).
 * x: rows [batch, tokens, d] -> out: F32 [batch, ceil(tokens / group), d]. */
TAMIAS_API int32_t tamias_block_means(uint64_t stream, const tamias_tensor* x, int64_t group, const tamias_tensor* out);

/* out[g, n] = |means_now - means_cached| * column_norm[n]; all F32, [batch, groups, hidden] and [hidden]. */
TAMIAS_API int32_t tamias_neuron_scores(uint64_t stream, const tamias_tensor* means_now,
                                        const tamias_tensor* means_cached, const tamias_tensor* column_norm,
                                        const tamias_tensor* out);

/* cached[g, i] = now[g, i] for the chosen columns i of each group; both F32 [batch, groups, columns]; the mask has
 * lists = 1. */
TAMIAS_API int32_t tamias_update_chosen(uint64_t stream, const tamias_tensor* now, const tamias_tensor* indices,
                                        const tamias_tensor* counts, const tamias_tensor* cached);

/* Euclidean norm of each row: x rows [n, d] -> out F32 [n]. */
TAMIAS_API int32_t tamias_row_norms(uint64_t stream, const tamias_tensor* x, const tamias_tensor* out);

/* ---- column-sparse attention (Chipmunk, arXiv 2506.03275, section 3) -------------------------------------------
 * `group` neighbouring queries share one list of keys per head; groups = ceil(queries / group). */

/* Dense attention that also sums the softmax over each group's queries: column_sums: F32 contiguous [batch, heads,
 * groups, keys], sum over the group's queries of exp(logit - lse). previous_lse: F32 [batch, heads, queries], optional:
 * the log-sum-exp of an earlier step, used in place of this step's for the sums so that one pass is enough (NULL: this
 * step's own, exact). lse: F32 [batch, heads, queries], output; may be the tensor given as previous_lse. */
TAMIAS_API int32_t tamias_attention_column_sums(uint64_t stream, const tamias_tensor* q, const tamias_tensor* k,
                                                const tamias_tensor* v, float scale, int64_t group,
                                                const tamias_tensor* previous_lse, const tamias_tensor* out,
                                                const tamias_tensor* lse, const tamias_tensor* column_sums);

/* Attention over the chosen keys of each group, merged with the cache in the epilogue. indices, counts: a mask with
 * lists = heads, columns = keys. A group with count 0: O_S = 0 and L_S = -infinity (CACHE_LSE: out = O_R).
 * cache: out's shape, and cache_lse: F32 [batch, heads, queries], as built by tamias_attention_cache for `rule`
 * (optional where the rule does not use them). beta: used by CACHE_CONTROL. lse: optional output, the log-sum-exp L_S
 * of the chosen keys (CACHE_LSE: of the merged result). */
TAMIAS_API int32_t tamias_attention_columns(uint64_t stream, const tamias_tensor* q, const tamias_tensor* k,
                                            const tamias_tensor* v, float scale, int64_t group,
                                            const tamias_tensor* indices, const tamias_tensor* counts, int32_t rule,
                                            float beta, const tamias_tensor* cache, const tamias_tensor* cache_lse,
                                            const tamias_tensor* out, const tamias_tensor* lse);

/* Builds the cache at a refresh from dense (o, lse) and chosen-only (o_chosen, lse_chosen) attention of one step.
 * CACHE_CONTROL: cache = o - beta * o_chosen. CACHE_LSE: with w = exp(lse_chosen - lse), cache = (o - w * o_chosen) /
 * (1 - w) and cache_lse = lse + log1p(-w); where w rounds to 1 the rest is empty: cache = 0, cache_lse = -infinity.
 * o, o_chosen, cache: rows [batch, heads, queries, headDim]; cache may be o_chosen. lse, lse_chosen, cache_lse: F32
 * [batch, heads, queries], needed by CACHE_LSE only. */
TAMIAS_API int32_t tamias_attention_cache(uint64_t stream, int32_t rule, float beta, const tamias_tensor* o,
                                          const tamias_tensor* lse, const tamias_tensor* o_chosen,
                                          const tamias_tensor* lse_chosen, const tamias_tensor* cache,
                                          const tamias_tensor* cache_lse);

/* ---- column-sparse MLP ----------------------------------------------------------------------------------------
 * out = W2 activation(W1 x + b1) + b2, in groups of `group` neighbouring tokens. Activations live neuron-major in
 * slabs, [batch, groups, hidden, group], so that a chosen neuron is one contiguous row; entries past a short last group
 * are 0. fc1 is the layer of W1 and the activation, fc2 that of W2, which is given transposed, [hidden, n], so that a
 * neuron's column is one row. */

/* Dense fc1: activations (output, contiguous) and the group means of the pre-activations, means: F32 [batch, groups,
 * hidden], optional. x: rows [batch, tokens, d]; w1: rows [hidden, d]; b1: [hidden], optional. */
TAMIAS_API int32_t tamias_mlp_refresh_fc1(uint64_t stream, const tamias_tensor* x, const tamias_tensor* w1,
                                          const tamias_tensor* b1, int32_t activation,
                                          const tamias_tensor* activations, const tamias_tensor* means);

/* Dense fc2 from slabs: out rows [batch, tokens, n] = activations W2 + b2 (b2: [n], optional). */
TAMIAS_API int32_t tamias_mlp_refresh_fc2(uint64_t stream, const tamias_tensor* activations, const tamias_tensor* w2t,
                                          const tamias_tensor* b2, const tamias_tensor* out);

/* Chosen neurons of fc1: new activations overwrite the cached ones, and delta (contiguous [batch, groups, capacity,
 * group], capacity of the mask) gets new - old in the order of the list. Mask: lists = 1, columns = hidden;
 * TAMIAS_ALL_COLUMNS needs capacity >= hidden. */
TAMIAS_API int32_t tamias_mlp_delta_fc1(uint64_t stream, const tamias_tensor* x, const tamias_tensor* w1,
                                        const tamias_tensor* b1, int32_t activation, const tamias_tensor* indices,
                                        const tamias_tensor* counts, const tamias_tensor* activations,
                                        const tamias_tensor* delta);

/* out += delta times the chosen rows of W2 transposed. out: F32 rows [batch, tokens, n]. */
TAMIAS_API int32_t tamias_mlp_delta_fc2(uint64_t stream, const tamias_tensor* delta, const tamias_tensor* indices,
                                        const tamias_tensor* counts, const tamias_tensor* w2t,
                                        const tamias_tensor* out);

#ifdef __cplusplus
}
#endif
#endif
