//! Would a verb take this file?

use std::path::Path;

use gstreamer as gst;
use qrnet::Config;
use qrnet_train::recipe::{Recipe, brought_by};
use records::Query;

use crate::cli::RunArgs;
use crate::config::{RunFile, RunSettings, chosen, is_streams_file, model_variant};
use crate::error::{Error, Result};
use crate::pipeline::{Hole, PipelineFile, build};
use crate::sightings::SightingSettings;
use crate::stage::{Mode, QuerySettings};

/// What a file is, by keys that only one kind has.
enum Kind {
    Pipeline,
    Recipe,
    Sets,
    Sizes,
    Run,
}

impl Kind {
    fn of(text: &str, name: &str) -> Result<Self> {
        let table: toml::Table = blocks::strict::table(text, name)?;
        let has = |keys: &[&str]| keys.iter().any(|key| table.contains_key(*key));
        let source_is_table = table.get("source").is_some_and(toml::Value::is_table);
        Ok(if source_is_table || has(&["sink"]) {
            Self::Pipeline
        } else if has(&["swin", "vl", "qdatt"]) {
            Self::Sizes
        } else if has(&["steps", "optimiser", "phase"]) {
            Self::Recipe
        } else if has(&["eval"]) {
            Self::Sets
        } else {
            Self::Run
        })
    }
}

/// What the file says, a line each.
///
/// # Errors
/// It cannot be read, has unknown keys, or says what cannot be done.
pub(super) fn check(path: &Path) -> Result<Vec<String>> {
    let name = path.display().to_string();
    if is_streams_file(path) {
        return run(RunArgs { source: vec![name.clone()], ..RunArgs::default() }, &name);
    }
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    match Kind::of(&text, &name)? {
        Kind::Pipeline => pipeline(&text, &name),
        Kind::Recipe => recipe(&text, path, &name),
        Kind::Sets => {
            let sets = Recipe::to_measure(path)?;
            let mut lines = vec![format!("sets        {}", sets.name)];
            lines.extend(data(&sets, path)?);
            Ok(lines)
        }
        Kind::Sizes => Ok(vec![format!("model       {}", describe(&Config::from_toml(&text, &name)?))]),
        Kind::Run => run(RunFile::read(path)?.under(RunArgs::default(), &name)?, &name),
    }
}

fn describe(config: &Config) -> String {
    let parameters: usize = qrnet::params::parameters(config).map(|spec| spec.shape.iter().product::<usize>()).sum();
    format!("{parameters} parameters, canvas {}", config.canvas)
}

/// Builds every part, with values in its holes that any machine has.
fn pipeline(text: &str, name: &str) -> Result<Vec<String>> {
    crate::pipeline::init()?;
    let file = PipelineFile::parse(text, name)?;
    let source_holes = [
        Hole::new("uri", "file:///clip.mp4"),
        Hole::new("device", "/dev/video0"),
        Hole::new("pattern", "ball"),
        Hole::new("frames", "1"),
        Hole::new("live", "false"),
        Hole::new("caps", "video/x-raw"),
        Hole::new("protocols", "tcp"),
        Hole::new("latency_ms", "200"),
        Hole::new("timeout_us", "10000000"),
        Hole::new("fd", "0"),
        Hole::new("deinterlace", "auto"),
    ];
    let pads = [Hole::new("pad_right", "0"), Hole::new("pad_bottom", "0")];
    let file_holes = [&pads[..], &[Hole::new("location", "/tmp/clip.mp4")]].concat();
    let mut lines = Vec::new();
    if let Some(source) = &file.source {
        file.build_source(name, &source_holes)?;
        lines.push(format!("source      {}", source.launch));
    }
    for sink in &file.sink {
        let holes: &[Hole] = match sink.target.as_deref() {
            Some("mp4" | "mkv") => &file_holes,
            Some("rtsp") | None => &pads,
            Some(_) => &[],
        };
        let bin = build(name, &sink.launch, holes, gst::PadDirection::Sink)?;
        match sink.target.as_deref() {
            Some("rtsp") => drop(crate::sink::payloader(&bin, name)?),
            _ => crate::pipeline::ends(&bin, name)?,
        }
        let plain = if sink.draw { "" } else { " (nothing drawn in)" };
        let replaces = sink.target.as_ref().map(|target| format!(" (in place of {target}:)")).unwrap_or_default();
        lines.push(format!("sink        {}{plain}{replaces}", sink.launch));
    }
    Ok(lines)
}

fn recipe(text: &str, path: &Path, name: &str) -> Result<Vec<String>> {
    let recipe = Recipe::from_toml(text, name)?;
    let config = model_variant(&format!("{name}: `model`"), &recipe.model, blocks::files::parent(path))?;
    let mut lines = vec![
        format!("recipe      {}", recipe.name),
        format!("model       {}", describe(&config)),
        format!("training    {} steps of {} examples", recipe.steps, recipe.batch),
    ];
    for (key, file) in recipe.files(blocks::files::parent(path)) {
        if !file.exists() {
            lines.push(missing(&format!("`{key}`"), &file));
        }
    }
    lines.extend(data(&recipe, path)?);
    Ok(lines)
}

/// What is not here may be where the recipe will be used: no error, but a warning.
fn missing(what: &str, path: &Path) -> String {
    let hint = brought_by(path).map_or_else(String::new, |script| format!("; {script} brings it"));
    format!("warning     {what}: {} is not there{hint}", path.display())
}

/// What is there of the data that the recipe in `path` names.
fn data(recipe: &Recipe, path: &Path) -> Result<Vec<String>> {
    let base = blocks::files::parent(path);
    let mut lines = Vec::new();
    let trained = recipe.phase.iter().flat_map(|phase| &phase.lists);
    for list in trained.chain(recipe.eval.iter().flat_map(|set| &set.lists)) {
        if let Some(path) = list.missing(base) {
            lines.push(missing(&list.name(), &path));
        } else if let Some(labels) = list.clip_labels(base)? {
            let (frames, things) = (labels.frames().len(), labels.referents().len());
            lines.push(format!("data        {}: {frames} frames, {things} to ask for", list.name()));
        }
    }
    Ok(lines)
}

/// Everything but what flags would have to add.
fn run(mut args: RunArgs, name: &str) -> Result<Vec<String>> {
    const OPEN: &str = "(a flag has to say)";
    let sourceless = args.source.is_empty() && args.stream.is_empty();
    // Stands in for what flags will say, so that the rest can be looked at.
    if sourceless {
        args.source.push("test:".into());
    }
    if args.compiled_query.is_none() && args.query.is_empty() {
        args.query.push(OPEN.into());
    }
    let unwatched = !args.allow_anonymous && args.out_credentials.is_none();
    args.allow_anonymous |= unwatched;
    let settings = RunSettings::resolve(args).map_err(|error| match error {
        Error::Usage(reason) => Error::Usage(format!("{name}: {reason}")),
        other => other,
    })?;
    let model = chosen(settings.model.as_deref())?;
    if let Some(model) = &model {
        grounding::load_tokenizer(model)?;
    }
    crate::pipeline::init()?;
    let mut lines = Vec::new();
    for stream in &settings.streams {
        crate::source::build(&stream.address, &stream.source, &crate::source::SourceHandles::default())?;
        let mode = match stream.mode {
            Mode::EveryFrame => "every-frame",
            Mode::Freshest => "freshest",
        };
        lines.push(format!("source      {}", if sourceless { OPEN } else { &stream.address.name }));
        for QuerySettings { name, text, .. } in &stream.queries {
            let own = if *name == Query::name_of(text) { String::new() } else { format!("{name}: ") };
            lines.push(format!("query       {own}{text}"));
        }
        if let Some(SightingSettings { zones, lines: crossed, .. }) = &stream.sightings {
            lines.push("sightings   told".into());
            lines.extend(
                zones.iter().map(|zone| format!("zone        {} ({} corners)", zone.name, zone.corners().count())),
            );
            lines.extend(crossed.iter().map(|line| format!("line        {}", line.name)));
        }
        lines.push(format!("mode        {mode}"));
        lines.extend(
            stream.records.iter().map(|place| format!("out         {}:{}", place.format.kind(), place.path.display())),
        );
        lines.extend(stream.output.targets.iter().map(|target| format!("out         {target}")));
        lines.extend(stream.rtsp.iter().map(|out| format!("out         {out}")));
        if !stream.rtsp.is_empty() {
            crate::sink::launch(&stream.output.sinks)?;
        }
        if stream.rtsp.iter().any(|out| unwatched && out.is_public() && settings.access.is_open(out)) {
            lines.push(format!("viewers     {OPEN}"));
        }
        lines.extend(stream.output.sinks.iter().map(|sink| format!("out         {}", sink.launch)));
    }
    if settings.check_outputs().is_err() {
        lines.push(format!("out         {OPEN}"));
    }
    let model = model.as_ref().map_or("built in".into(), |dir| dir.display().to_string());
    lines.push(format!("model       {model}"));
    Ok(lines)
}
