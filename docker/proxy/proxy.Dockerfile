# Caddy without root: ports above 1024, and a folder for certificates that is its own.
ARG BASE=caddy:2.10-alpine
FROM ${BASE}

# The copy leaves the file's capabilities behind: with none to give, the kernel would not start it.
RUN cp /usr/bin/caddy /usr/bin/plain && mv /usr/bin/plain /usr/bin/caddy \
    && mkdir -p /data /config && chown 10001:10001 /data /config
COPY docker/proxy/Caddyfile /etc/caddy/Caddyfile

USER 10001:10001
EXPOSE 8443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:2020/"]
ENTRYPOINT ["caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile"]
