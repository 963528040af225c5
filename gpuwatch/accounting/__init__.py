"""The pass over the cluster: collect, post, forecast, alert."""
