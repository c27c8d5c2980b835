"""Reads PDFs for the process that started this one, and nothing else."""

import sys

from pagesight._pagesight import serve_worker

if __name__ == "__main__":
    serve_worker(sys.argv[1:])
    sys.exit("pagesight._worker reads PDFs for the program that starts it, and nothing else")
