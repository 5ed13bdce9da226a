use super::*;

fn read(text: &str) -> Result<Config> {
    Config::from_json(text, "config.json")
}

fn message(text: &str) -> String {
    read(text).expect_err("no model").to_string()
}

#[test]
fn what_is_left_out_has_the_defaults_of_the_library() {
    // As IDEA's base is published: parts of the backbone's configuration alone.
    let base = r#"{"model_type": "grounding-dino", "backbone_config": {"model_type": "swin", "embed_dim": 128,
        "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12, "out_indices": [2, 3, 4]},
        "text_config": {"model_type": "bert"}, "something_new": {"a": 1}}"#;
    let config = read(base).expect("a model");
    assert_eq!((config.class, config.width, config.queries, config.levels), (Class::Idea, 256, 900, 4));
    assert_eq!((config.stages, config.swin.window_size, config.bert.hidden_size), (vec![1, 2, 3], 12, 768));
    let tiny = r#"{"model_type": "mm-grounding-dino", "backbone_config": null, "text_config": null, "backbone": null}"#;
    let tiny = read(tiny).expect("a model");
    assert_eq!((tiny.class, tiny.stages.as_slice(), tiny.swin.embed_dim), (Class::Mm, &[1, 2, 3][..], 96));
    let named = r#"{"model_type": "grounding-dino", "backbone_config": {"out_features": ["stage3", "stage4"]}}"#;
    assert_eq!(read(named).expect("a model").stages, [2, 3]);
}

#[test]
fn another_architecture_is_named() {
    assert_eq!(
        message(r#"{"model_type": "bert", "d_model": "x"}"#),
        "config.json: `model_type` is bert, expected grounding-dino or mm-grounding-dino"
    );
    assert!(message("{}").contains("`model_type` is missing"));
    let cases = [
        (r#""backbone_config": {"model_type": "resnet"}"#, "`backbone_config.model_type` is resnet, expected swin"),
        (r#""text_config": {"model_type": "roberta"}"#, "`text_config.model_type` is roberta, expected bert"),
        (r#""position_embedding_type": "learned""#, "`position_embedding_type` is learned, expected sine"),
        (r#""two_stage": false"#, "`two_stage` is false, expected true"),
        (r#""query_dim": 2"#, "`query_dim` is 2, expected 4"),
        (r#""backbone_config": {"qkv_bias": false}"#, "`backbone_config.qkv_bias` is false"),
    ];
    for (key, expected) in cases {
        let found = message(&format!(r#"{{"model_type": "grounding-dino", {key}}}"#));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn sizes_that_no_model_has_are_one_clear_error() {
    let cases = [
        (r#""d_model": 100"#, "`d_model` is 100, expected a multiple of 32"),
        (r#""d_model": 0"#, "`d_model` is 0, expected from 1"),
        (r#""decoder_attention_heads": 3"#, "`decoder_attention_heads` is 3, expected a divisor of d_model, 256"),
        (r#""encoder_attention_heads": 1"#, "`encoder_attention_heads` is 1, expected an even number"),
        (r#""encoder_ffn_dim": 2049"#, "`encoder_ffn_dim` is 2049"),
        (r#""num_queries": 18446744073709551615"#, "`num_queries` is 18446744073709551615, expected from 1 to"),
        (r#""num_queries": -1"#, "line 1 column"),
        (r#""num_feature_levels": 2"#, "`backbone_config.out_indices` is [2, 3, 4], expected at most 2 stages"),
        (r#""max_text_len": 3"#, "`max_text_len` is 3, expected at least 4"),
        (r#""layer_norm_eps": 0"#, "`layer_norm_eps` is 0, expected above 0"),
        (r#""text_config": {"num_attention_heads": 7}"#, "`text_config.num_attention_heads` is 7, expected a divisor"),
        (r#""backbone_config": {"window_size": 0}"#, "`backbone_config.window_size` is 0, expected from 1 to 64"),
        (
            r#""backbone_config": {"num_heads": [3]}"#,
            "`backbone_config.num_heads` is [3], expected one number for each of 4",
        ),
        (r#""backbone_config": {"depths": []}"#, "`backbone_config.depths` is []"),
        (
            r#""backbone_config": {"out_indices": [5]}"#,
            "`backbone_config.out_indices` is 5, expected stages from 1 to 4",
        ),
        (
            r#""backbone_config": {"out_indices": [3, 2]}"#,
            "`backbone_config.out_indices` is [3, 2], expected stages in order",
        ),
        (r#""backbone_config": {"layer_norm_eps": 1e-6}"#, "`backbone_config.layer_norm_eps` is 1e-6, expected 1e-5"),
    ];
    for (key, expected) in cases {
        let found = message(&format!(r#"{{"model_type": "mm-grounding-dino", {key}}}"#));
        assert!(found.contains(expected), "{found}");
    }
}
