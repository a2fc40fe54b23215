"""What pictures of the tape are made from: the graph, its folding, its layout, and the SVG text."""
