"""Jobs over a tracklet store: match again, embed again, change the embedder."""
