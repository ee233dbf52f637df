FROM python:latest
MAINTAINER someone@example.com
ADD . /code
WORKDIR code
RUN pip install flask requests==2.32.0
RUN python -m pip install git+https://example.com/a/b.git
RUN cd /code && python setup.py install
ENV SECRET_KEY=abcdef
CMD python app.py
