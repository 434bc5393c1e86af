//! How long a decision takes: remembered, and made anew; and how long the policies take to be read.
fn main() {}
