//! The engines against the reference resolver: simulated jobs with crashes, little memory and any order of delivery, on a virtual clock.

mod cluster;
mod deadlines;
mod deletions;
mod maintained;
mod memory;
mod notation;
mod properties;
mod scale;
mod situations;
mod table;
mod trial;
mod versions;
