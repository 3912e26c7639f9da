"""`minicnn weights`: which trained weights there are, getting them, and turning files of other programs into ours."""
