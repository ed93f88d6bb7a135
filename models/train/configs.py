"""Configurations of the networks and the files around them."""

TRANSFORMER = {
    "_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.40.0.dev0", "attention_head_dim": 128,
    "axes_dims_rope": [16, 56, 56], "guidance_embeds": True, "in_channels": 32, "joint_attention_dim": 256,
    "num_attention_heads": 3, "num_layers": 2, "num_single_layers": 6, "out_channels": None, "patch_size": 1,
    "pooled_projection_dim": 256,
}
# For rehearsals on a CPU.
TINY_TRANSFORMER = {**TRANSFORMER, "num_attention_heads": 1, "num_layers": 1, "num_single_layers": 1}

T5 = {
    "architectures": ["T5EncoderModel"], "classifier_dropout": 0.0, "d_ff": 640, "d_kv": 64, "d_model": 256,
    "decoder_start_token_id": 0, "dense_act_fn": "gelu_new", "dropout_rate": 0.0, "dtype": "bfloat16",
    "eos_token_id": 1, "feed_forward_proj": "gated-gelu", "initializer_factor": 1.0, "is_decoder": False,
    "is_encoder_decoder": False, "is_gated_act": True, "layer_norm_epsilon": 1e-06, "model_type": "t5",
    "num_decoder_layers": 3, "num_heads": 4, "num_layers": 3, "pad_token_id": 0,
    "relative_attention_max_distance": 128, "relative_attention_num_buckets": 32, "tie_word_embeddings": True,
    "use_cache": False, "vocab_size": 4096,
}

CLIP = {
    "architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "bos_token_id": 1, "dtype": "bfloat16",
    "eos_token_id": 1, "hidden_act": "gelu", "hidden_size": 256, "initializer_factor": 1.0,
    "initializer_range": 0.02, "intermediate_size": 1024, "layer_norm_eps": 1e-05, "max_position_embeddings": 77,
    "model_type": "clip_text_model", "num_attention_heads": 4, "num_hidden_layers": 2, "pad_token_id": 0,
    "projection_dim": 256, "vocab_size": 4096,
}

MODEL_INDEX = {
    "_class_name": "FluxPipeline", "_diffusers_version": "0.40.0.dev0", "feature_extractor": [None, None],
    "image_encoder": [None, None], "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"], "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    "tokenizer_2": ["transformers", "PreTrainedTokenizerFast"],
    "transformer": ["diffusers", "FluxTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"],
}

# ------------------------------------------------------------- acorn-video

WAN_TRANSFORMER = {
    "_class_name": "WanTransformer3DModel", "_diffusers_version": "0.40.0.dev0", "added_kv_proj_dim": None,
    "attention_head_dim": 128, "cross_attn_norm": True, "eps": 1e-06, "ffn_dim": 1536, "freq_dim": 256,
    "image_dim": None, "in_channels": 16, "num_attention_heads": 3, "num_layers": 5, "out_channels": 16,
    "patch_size": [1, 2, 2], "pos_embed_seq_len": None, "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 1024, "text_dim": 256,
}
TINY_WAN_TRANSFORMER = {**WAN_TRANSFORMER, "num_attention_heads": 1, "num_layers": 1}

WAN_VAE = {
    "_class_name": "AutoencoderKLWan", "_diffusers_version": "0.40.0.dev0", "attn_scales": [], "base_dim": 16,
    "decoder_base_dim": None, "dim_mult": [1, 2, 4, 8], "dropout": 0.0, "in_channels": 3, "is_residual": False,
    "latents_mean": [0.0] * 16, "latents_std": [1.0] * 16, "num_res_blocks": 1, "out_channels": 3,
    "patch_size": None, "scale_factor_spatial": 8, "scale_factor_temporal": 4,
    "temperal_downsample": [False, True, True], "z_dim": 16,
}

UMT5 = {**T5, "architectures": ["UMT5EncoderModel"], "model_type": "umt5"}

WAN_SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler", "_diffusers_version": "0.40.0.dev0", "beta_end": 0.02,
    "beta_schedule": "linear", "beta_start": 0.0001, "disable_corrector": [], "dynamic_thresholding_ratio": 0.995,
    "final_sigmas_type": "zero", "flow_shift": 3.0, "lower_order_final": True, "num_train_timesteps": 1000,
    "predict_x0": True, "prediction_type": "flow_prediction", "rescale_betas_zero_snr": False,
    "sample_max_value": 1.0, "solver_order": 2, "solver_p": None, "solver_type": "bh2", "steps_offset": 0,
    "thresholding": False, "timestep_spacing": "linspace", "trained_betas": None, "use_beta_sigmas": False,
    "use_exponential_sigmas": False, "use_flow_sigmas": True, "use_karras_sigmas": False,
}

WAN_INDEX = {
    "_class_name": "WanPipeline", "_diffusers_version": "0.40.0.dev0", "boundary_ratio": None,
    "expand_timesteps": False, "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    "text_encoder": ["transformers", "UMT5EncoderModel"], "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    "transformer": ["diffusers", "WanTransformer3DModel"], "transformer_2": [None, None],
    "vae": ["diffusers", "AutoencoderKLWan"],
}
