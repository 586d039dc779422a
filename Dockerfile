# avloc on the CPU: `docker build -t avloc .`, then
#
#     docker run --rm -v "$PWD/demo-out:/work/demo-out" avloc demo demo-out
#     docker run --rm -v "$PWD:/work" avloc run videos/ --labels labels.csv -o out
#
# For torch without CUDA (several gigabytes less), give PyTorch's index of CPU builds: --build-arg TORCH="--index-url URL torch".
#
# The image was not built where this was written: there is no Docker daemon. Its two pip lines ran on these files alone, in a
# fresh environment of Python 3.11 on Debian 12, and `avloc doctor` there (2026-11-26).
FROM python:3.11-slim
ARG TORCH=torch
WORKDIR /opt/avloc
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt $TORCH
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt '.[media,pretrained,report,tb,frames,export]' \
    && useradd --create-home user && mkdir /work && chown user /work
USER user
WORKDIR /work
ENTRYPOINT ["avloc"]
CMD ["--help"]
