FROM debian:12
RUN if [ "$NODE_ENV" = "development" ]; then npm install jest; else npm ci; fi
RUN for p in a b; do apt-get install -y "$p"; done
RUN x=$(curl -s https://example.com/v) && wget -q "https://example.com/$x"
RUN case "$(uname -m)" in x86_64) arch=amd64 ;; *) arch=arm64 ;; esac; echo $arch
RUN set -x; { true || false; } && (ps aux)
RUN echo "apt-get install fake" # sudo nothing
