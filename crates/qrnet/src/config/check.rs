//! Which sizes fit each other: the first key whose value no model can be built from is named.

use super::{CANVAS_STEP, Config, MOST_LAYERS, MOST_PIXELS, MOST_WIDE, MobileNetConfig, PATCH, STAGES};
use blocks::error::{Error, Result};

impl Config {
    /// Checks that the sizes fit each other; `file` is named in errors.
    ///
    /// # Errors
    /// The first key whose value no model can be built from.
    pub fn validate(&self, file: &str) -> Result<()> {
        let fail = |key: &str, value: String, expected: String| {
            Err(Error::Config { file: file.to_owned(), key: key.to_owned(), value, expected })
        };
        self.validate_backbone(file)?;
        self.validate_levels(file)?;
        self.validate_canvas(file)?;
        let sizes = [
            ("max_query_len", self.max_query_len.saturating_sub(2)),
            ("qdatt.k", self.qdatt.k),
            ("qdatt.reduction_ratio", self.qdatt.reduction_ratio),
            ("neck.out_channels", self.neck.out_channels),
            ("bert.vocab_size", self.bert.vocab_size),
            ("bert.hidden_size", self.bert.hidden_size),
            ("bert.num_attention_heads", self.bert.num_attention_heads),
            ("bert.intermediate_size", self.bert.intermediate_size),
            ("bert.type_vocab_size", self.bert.type_vocab_size),
            ("vl.hidden_dim", self.vl.hidden_dim),
            ("vl.nheads", self.vl.nheads),
            ("vl.dim_feedforward", self.vl.dim_feedforward),
            ("vl.enc_layers", self.vl.enc_layers),
        ];
        for (key, value) in sizes {
            if value == 0 {
                let expected =
                    if key == "max_query_len" { "at least 3 (two pieces frame the text)" } else { "at least 1" };
                let shown = if key == "max_query_len" { self.max_query_len } else { 0 };
                return fail(key, shown.to_string(), expected.into());
            }
        }
        let layers = [("bert.num_hidden_layers", self.bert.num_hidden_layers), ("vl.enc_layers", self.vl.enc_layers)];
        let deep = layers.into_iter().map(|(key, value)| (key, value, MOST_LAYERS));
        let positions = [("bert.max_position_embeddings", self.bert.max_position_embeddings)];
        let wide = sizes.into_iter().chain(positions).map(|(key, value)| (key, value, MOST_WIDE));
        if let Some((key, value, most)) = deep.chain(wide).find(|(_, value, most)| value > most) {
            return fail(key, value.to_string(), format!("at most {most}"));
        }
        if let Some(threshold) = self.threshold.filter(|own| !self.presence || !(0.0..=1.0).contains(own)) {
            let expected = if self.presence { "a probability from 0 to 1" } else { "none without `presence`" };
            return fail("threshold", threshold.to_string(), expected.into());
        }
        let eps = self.bert.layer_norm_eps;
        if !(eps > 0.0 && eps <= 1.0) {
            return fail("bert.layer_norm_eps", eps.to_string(), "above 0, at most 1".into());
        }
        for (key, width, heads) in [
            ("bert.num_attention_heads", self.bert.hidden_size, self.bert.num_attention_heads),
            ("vl.nheads", self.vl.hidden_dim, self.vl.nheads),
        ] {
            if !width.is_multiple_of(heads) {
                return fail(key, heads.to_string(), format!("a divisor of the width {width}"));
            }
        }
        let gated = self.gated_stages().map(|stage| self.stage_channels(stage));
        let narrow = gated.chain([self.neck.out_channels]).min().unwrap_or(0);
        if self.gate_width(narrow) == 0 {
            return fail(
                "qdatt.reduction_ratio",
                self.qdatt.reduction_ratio.to_string(),
                format!("at most {narrow}, the narrowest map"),
            );
        }
        if self.bert.max_position_embeddings < self.max_query_len {
            let expected = format!("at least max_query_len ({})", self.max_query_len);
            return fail("bert.max_position_embeddings", self.bert.max_position_embeddings.to_string(), expected);
        }
        for (key, rate) in [("bert.dropout", self.bert.dropout), ("vl.dropout", self.vl.dropout)] {
            if !(0.0..1.0).contains(&rate) {
                return fail(key, rate.to_string(), "a rate from 0 up to, not including, 1".into());
            }
        }
        Ok(())
    }

    fn validate_backbone(&self, file: &str) -> Result<()> {
        let fail = |key: &str, value: String, expected: &str| {
            let (file, key, expected) = (file.to_owned(), key.to_owned(), expected.to_owned());
            Err(Error::Config { file, key, value, expected })
        };
        let swin = match (&self.swin, &self.mobilenet) {
            (Some(swin), None) => swin,
            (None, Some(mobilenet)) => {
                let MobileNetConfig { output_stride, frozen_stages } = *mobilenet;
                if output_stride != 16 && output_stride != 32 {
                    return fail("mobilenet.output_stride", output_stride.to_string(), "16 or 32");
                }
                if frozen_stages > STAGES {
                    return fail("mobilenet.frozen_stages", frozen_stages.to_string(), "at most 4");
                }
                return Ok(());
            }
            (Some(_), Some(_)) => return fail("mobilenet", "there beside `swin`".into(), "one backbone"),
            (None, None) => return fail("swin", "missing".into(), "a backbone: `swin` or `mobilenet`"),
        };
        for (key, value) in [("swin.embed_dim", swin.embed_dim), ("swin.window_size", swin.window_size)] {
            if value == 0 || value > MOST_WIDE {
                return fail(key, value.to_string(), &format!("at least 1, at most {MOST_WIDE}"));
            }
        }
        if !(swin.mlp_ratio > 0.0 && swin.mlp_ratio <= 64.0) {
            return fail("swin.mlp_ratio", swin.mlp_ratio.to_string(), "above 0, at most 64");
        }
        if (swin.embed_dim as f64 * swin.mlp_ratio) < 1.0 {
            return fail("swin.mlp_ratio", swin.mlp_ratio.to_string(), "at least one hidden channel");
        }
        if swin.patch_size != PATCH {
            return fail("swin.patch_size", swin.patch_size.to_string(), "4 (the canvas step of 64 rests on it)");
        }
        if swin.depths.len() != STAGES || swin.depths.contains(&0) {
            return fail("swin.depths", format!("{:?}", swin.depths), "four stages of at least one block");
        }
        if let Some(depth) = swin.depths.iter().find(|depth| **depth > MOST_LAYERS) {
            return fail("swin.depths", depth.to_string(), &format!("at most {MOST_LAYERS}"));
        }
        if swin.num_heads.len() != STAGES {
            let expected = format!("{STAGES} entries, one per stage");
            return fail("swin.num_heads", format!("{:?}", swin.num_heads), &expected);
        }
        for (stage, &heads) in swin.num_heads.iter().enumerate() {
            let channels = self.stage_channels(stage);
            if heads == 0 || !channels.is_multiple_of(heads) {
                let expected = format!("a divisor of the stage's {channels} channels");
                return fail(&format!("swin.num_heads[{stage}]"), heads.to_string(), &expected);
            }
        }
        if !(0.0..1.0).contains(&swin.drop_path_rate) {
            let expected = "a rate from 0 up to, not including, 1";
            return fail("swin.drop_path_rate", swin.drop_path_rate.to_string(), expected);
        }
        Ok(())
    }

    /// Gates, neck and tokens stand on stages that are there.
    fn validate_levels(&self, file: &str) -> Result<()> {
        let fail = |key: &str, value: String, expected: &str| {
            let (file, key, expected) = (file.to_owned(), key.to_owned(), expected.to_owned());
            Err(Error::Config { file, key, value, expected })
        };
        if self.qdatt.from_stage >= STAGES {
            return fail("qdatt.from_stage", self.qdatt.from_stage.to_string(), "0 to 3");
        }
        let stages = self.neck_stages();
        let shown = format!("{stages:?}");
        if stages.iter().any(|stage| *stage >= STAGES) {
            return fail("neck.levels", shown, "stages 0 to 3");
        }
        let levels = self.neck_levels();
        if levels.windows(2).any(|pair| pair[1] != pair[0] + 1) {
            return fail("neck.levels", shown, "stages whose maps have half the resolution of the one before");
        }
        let strides: Vec<usize> = levels[..levels.len() - 1].iter().map(|level| PATCH << level).collect();
        match self.vl.token_stride {
            Some(stride) if !strides.contains(&stride) => {
                fail("vl.token_stride", stride.to_string(), &format!("a stride of the neck, one of {strides:?}"))
            }
            _ => Ok(()),
        }
    }

    fn validate_canvas(&self, file: &str) -> Result<()> {
        let fail = |key: &str, value: String, expected: String| {
            Err(Error::Config { file: file.to_owned(), key: key.to_owned(), value, expected })
        };
        let further = self.canvases.iter().map(|canvas| ("canvases", Some(*canvas)));
        let own = [("canvas", Some(self.canvas)), ("pos_canvas", self.pos_canvas)];
        for (key, canvas) in own.into_iter().chain(further) {
            let Some(canvas) = canvas else { continue };
            for (side, value) in [("width", canvas.width), ("height", canvas.height)] {
                if value > MOST_PIXELS {
                    return fail(&format!("{key}.{side}"), value.to_string(), format!("at most {MOST_PIXELS}"));
                }
                if value == 0 || value % CANVAS_STEP != 0 {
                    return fail(&format!("{key}.{side}"), value.to_string(), format!("a multiple of {CANVAS_STEP}"));
                }
            }
        }
        if self.is_sampled(self.canvas) {
            return Ok(());
        }
        let pos = self.position_canvas();
        let same_tokens = self.visual_tokens(pos) == self.visual_tokens(self.canvas);
        let fits = self.canvas.width <= pos.width && self.canvas.height <= pos.height;
        let centred = (pos.width.wrapping_sub(self.canvas.width) / 2).is_multiple_of(CANVAS_STEP)
            && (pos.height.wrapping_sub(self.canvas.height) / 2).is_multiple_of(CANVAS_STEP);
        if !(same_tokens || (fits && centred)) {
            let expected = format!("inside pos_canvas {pos} with centring offsets that are multiples of {CANVAS_STEP}");
            return fail("canvas", self.canvas.to_string(), expected);
        }
        Ok(())
    }
}
