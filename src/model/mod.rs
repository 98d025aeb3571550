//! The network in burn: features, training, proof. The only room that imports burn.
