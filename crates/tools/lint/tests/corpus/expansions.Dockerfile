FROM alpine:3.20
ARG v=1.2.3
ENV major=${v%%.*} minor=${v#*.} dashed=${v//./-} first=${v/./_} or=${none:-default} and=${v:+set}
ENV nested=${none:-${v:-x}} plain=\$v
LABEL version="${v}" other='$v'
WORKDIR /srv/${major}
