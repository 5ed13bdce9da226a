//! Whole frames on the CPU: layers with packed weights, a Swin of them, and how work is cut into tasks, whose data stay in
//! the cache and whose buffers stay from frame to frame.

pub mod layers;
pub mod pools;
pub mod swin;
pub mod tasks;
pub mod weights;
