FROM centos:7
ENV TOOL_VERSION=1.2
RUN yum install -y tool-${TOOL_VERSION} ./local-1.0.rpm && yum clean all
RUN yum install httpd
RUN yum -y groupinstall "Development Tools" && yum clean all
