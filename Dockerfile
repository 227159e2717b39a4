# Shoal in a container. The program brings its own Node (locked in package-lock.json), so the base needs only glibc and libstdc++.
#   docker build -t shoal .
#   docker run -d --name shoal --network host -v shoal:/var/lib/shoal shoal
# The registry answers on the host's loopback, where container clients look for a mirror; that is why the host's network is used.

# Needs Node 20 or newer, npm and a shell.
ARG BUILD_BASE=docker.io/library/node:24-bookworm-slim
ARG BASE=gcr.io/distroless/cc-debian12

FROM ${BUILD_BASE} AS build
# For builds without a network: "--offline" takes packages from the npm cache of the build base.
ARG NPM_FLAGS=""
WORKDIR /build
COPY package.json package-lock.json .npmrc tsconfig.json tsconfig.build.json ./
COPY src ./src
COPY build ./build
# `npm ci` also compiles and bundles, through the prepare script; then what only development needs is removed.
RUN npm ci ${NPM_FLAGS} && npm prune --omit=dev --ignore-scripts ${NPM_FLAGS}
RUN mkdir -p /out/app /out/data \
  && rm -rf node_modules/node-linux-*/include node_modules/node-linux-*/share \
  && cp -a dist node_modules package.json /out/app/
COPY LICENSE /out/app/

FROM ${BASE}
LABEL org.opencontainers.image.title="shoal" \
      org.opencontainers.image.description="Peer-to-peer distribution of container images: one daemon per node behind each client's registry mirror" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/app /app
# Numbers, because a small base has no user database; the same as "nonroot" of distroless.
COPY --from=build --chown=65532:65532 /out/data /var/lib/shoal
USER 65532:65532
ENV SHOAL_DATA_DIR=/var/lib/shoal \
    NODE_ENV=production
VOLUME /var/lib/shoal
EXPOSE 5000 5001 5002 5003
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s --retries=3 \
  CMD ["/app/node_modules/.bin/node", "/app/dist/main.js", "status"]
ENTRYPOINT ["/app/node_modules/.bin/node", "/app/dist/main.js"]
CMD ["serve"]
