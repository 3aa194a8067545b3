// Included by naga's Metal; nothing of it is used.
