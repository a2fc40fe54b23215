# gpugrad's GPU benchmark: `docker run --gpus all IMAGE` prints its table. See docs/gpu.md.
# The toolkit (NVRTC, headers, cuBLAS) comes from pip wheels, so the base needs no CUDA; the driver is the host's.
FROM python:3.12-slim-bookworm

# Libraries to compare with, such as "torch jax[cuda13]"; torch.compile needs a C compiler.
ARG PEERS=""

ENV PYTHONUNBUFFERED=1
ENV PIP_NO_CACHE_DIR=1
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENV CUPY_CACHE_DIR=/cache/cupy
ENV XDG_CACHE_HOME=/cache
ENV TRITON_CACHE_DIR=/cache/triton
ENV TORCHINDUCTOR_CACHE_DIR=/cache/inductor
ENV JAX_COMPILATION_CACHE_DIR=/cache/jax

RUN useradd --create-home --uid 1000 bench && install -d -o bench /cache /results
WORKDIR /opt/gpugrad

COPY pyproject.toml README.md ./
COPY gpugrad gpugrad/
COPY kernels kernels/
COPY benchmarks benchmarks/
RUN pip install ".[cuda13]" nvidia-cuda-sanitizer-api
RUN if [ -n "$PEERS" ]; then \
        apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* && \
        pip install $PEERS; \
    fi

USER bench
VOLUME /cache
ENTRYPOINT ["python", "-m", "benchmarks.gpu"]
